//! Values that the caller sealed: sealed anew, all of them in one transaction.

use std::collections::BTreeSet;

use cratekube_common::domain::id::ClusterId;
use rusqlite::{Connection, Row, params};

use super::fault::Fault;
use super::rows;

/// Where sealed secrets are, each with the column that says whose they are.
const PLACES: [(&str, &str); 2] = [("clusters", "id"), ("revisions", "cluster_id")];

/// Seals the secrets of every cluster anew, also those of the specs that it had. `anew` answers nothing
/// for one that is so already. What is overwritten is wiped from the file, too. Answers how many
/// clusters have secrets.
pub(super) fn reseal(
    db: &Connection,
    anew: impl Fn(ClusterId, &[u8]) -> Result<Option<Vec<u8>>, String>,
) -> Result<u64, Fault> {
    db.pragma_update(None, "secure_delete", true)?;
    let mut clusters = BTreeSet::new();
    for (table, whose) in PLACES {
        let sql = format!("SELECT rowid, {whose}, sealed_secrets FROM {table} WHERE sealed_secrets IS NOT NULL");
        let mut select = db.prepare(&sql)?;
        let read = |row: &Row<'_>| Ok((row.get(0)?, rows::word(row, 1)?, row.get(2)?));
        let found = select.query_map([], read)?.collect::<Result<Vec<(i64, ClusterId, Vec<u8>)>, _>>()?;
        let mut update = db.prepare(&format!("UPDATE {table} SET sealed_secrets = ?2 WHERE rowid = ?1"))?;
        for (row, cluster, sealed) in found {
            let fault = |why| Fault::Damaged(format!("the secrets of cluster {cluster}: {why}"));
            if let Some(sealed) = anew(cluster, &sealed).map_err(fault)? {
                update.execute(params![row, sealed])?;
            }
            clusters.insert(cluster);
        }
    }
    Ok(u64::try_from(clusters.len()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::migrate;

    #[test]
    fn every_column_that_may_hold_a_sealed_value_is_known() {
        // Whoever adds a column of bytes says here what they are, and to `PLACES` when they are sealed.
        const HASHES: [(&str, &str); 4] =
            [("api_keys", "key_sha256"), ("attempts", "report_sha256"), ("audit", "hash"), ("audit", "previous_hash")];
        let dir = tempfile::tempdir().unwrap();
        let db = migrate::open_writer(&dir.path().join("test.db"), 512).unwrap();
        let columns = "SELECT m.name, c.name FROM sqlite_schema m JOIN pragma_table_info(m.name) c \
                       WHERE m.type = 'table' AND c.type = 'BLOB' ORDER BY 1, 2";
        let mut select = db.prepare(columns).unwrap();
        let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
        let found: BTreeSet<_> = select.query_map([], read).unwrap().map(Result::unwrap).collect();
        let sealed = PLACES.iter().map(|(table, _)| (*table, "sealed_secrets"));
        let known = sealed.chain(HASHES).map(|(table, column)| (table.to_owned(), column.to_owned())).collect();
        assert_eq!(found, known);
    }

    #[test]
    fn the_secrets_of_specs_that_a_cluster_had_are_sealed_anew_too() {
        let dir = tempfile::tempdir().unwrap();
        let db = migrate::open_writer(&dir.path().join("test.db"), 512).unwrap();
        let id = uuid::Uuid::from_u128(7);
        let script = format!(
            "INSERT INTO clusters (id, environment, name, phase, revision, fence, conditions, created_at, updated_at, \
                 sealed_secrets, spec) VALUES ('{id}', 'prod', 'web', 'ready', 2, 0, '[]', 1, 1, x'02', '{{}}'); \
             INSERT INTO revisions (cluster_id, number, operation, requested_by, created_at, sealed_secrets, spec) \
                 VALUES ('{id}', 1, 'o', 'ann', 1, x'01', '{{}}'), ('{id}', 2, 'o', 'ann', 1, x'02', '{{}}');"
        );
        db.execute_batch(&script).unwrap();
        let anew = |_: ClusterId, sealed: &[u8]| Ok(Some(vec![sealed[0] + 10]));
        assert_eq!(reseal(&db, anew).unwrap(), 1, "clusters, not values");
        let sum = "SELECT (SELECT group_concat(hex(sealed_secrets)) FROM clusters), \
                   (SELECT group_concat(hex(sealed_secrets)) FROM (SELECT * FROM revisions ORDER BY number))";
        let found: (String, String) = db.query_row(sum, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(found, ("0C".to_owned(), "0B,0C".to_owned()));
    }
}
