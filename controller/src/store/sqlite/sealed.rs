//! Values that the caller sealed: sealed anew, all of them in one transaction.

use std::collections::BTreeSet;

use cratekube_common::domain::id::ClusterId;
use cratekube_common::domain::name::EnvironmentName;
use rusqlite::{Connection, Row, params};

use super::fault::Fault;
use super::rows;

/// Where sealed secrets of specs are, each with the column that says whose they are.
const SECRETS: [(&str, &str); 2] = [("clusters", "id"), ("revisions", "cluster_id")];
/// Where sealed manifests are.
const MANIFESTS: [&str; 2] = ["resources", "environment_resources"];

/// What a value is sealed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealedFor {
    /// The secrets of a cluster's spec.
    Cluster(ClusterId),
    /// The manifest of a managed resource.
    Resource {
        /// Its environment.
        environment: EnvironmentName,
        /// Its name.
        name: String,
    },
}

impl std::fmt::Display for SealedFor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cluster(id) => write!(f, "the secrets of cluster {id}"),
            Self::Resource { environment, name } => write!(f, "the manifest of resource {name} in {environment}"),
        }
    }
}

/// Seals the secrets of every cluster anew, also those of the specs that it had, and every manifest.
/// `anew` answers nothing for one that is so already. What is overwritten is wiped from the file, too.
/// Answers how many clusters have secrets and how many manifests there are.
pub(super) fn reseal(
    db: &Connection,
    anew: impl Fn(&SealedFor, &[u8]) -> Result<Option<Vec<u8>>, String>,
) -> Result<u64, Fault> {
    db.pragma_update(None, "secure_delete", true)?;
    let mut clusters = BTreeSet::new();
    for (table, whose) in SECRETS {
        let sql = format!("SELECT rowid, sealed_secrets, {whose} FROM {table} WHERE sealed_secrets IS NOT NULL");
        let read = |row: &Row<'_>| Ok(SealedFor::Cluster(rows::word(row, 2)?));
        for whose in one_by_one(db, &sql, &format!("{table} SET sealed_secrets"), read, &anew)? {
            if let SealedFor::Cluster(id) = whose {
                clusters.insert(id);
            }
        }
    }
    let mut count = clusters.len();
    for table in MANIFESTS {
        let sql = format!("SELECT rowid, sealed, environment, name FROM {table}");
        let read = |row: &Row<'_>| Ok(SealedFor::Resource { environment: rows::word(row, 2)?, name: row.get(3)? });
        count += one_by_one(db, &sql, &format!("{table} SET sealed"), read, &anew)?.len();
    }
    Ok(u64::try_from(count).unwrap_or(u64::MAX))
}

/// Seals every value of one place anew; answers whose they are.
fn one_by_one(
    db: &Connection,
    select: &str,
    update: &str,
    whose: impl Fn(&Row<'_>) -> Result<SealedFor, rusqlite::Error>,
    anew: &impl Fn(&SealedFor, &[u8]) -> Result<Option<Vec<u8>>, String>,
) -> Result<Vec<SealedFor>, Fault> {
    let mut select = db.prepare(select)?;
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, whose(row)?));
    let found = select.query_map([], read)?.collect::<Result<Vec<(i64, Vec<u8>, SealedFor)>, _>>()?;
    let mut update = db.prepare(&format!("UPDATE {update} = ?2 WHERE rowid = ?1"))?;
    for (row, sealed, whose) in &found {
        let fault = |why| Fault::Damaged(format!("{whose}: {why}"));
        if let Some(sealed) = anew(whose, sealed).map_err(fault)? {
            update.execute(params![row, sealed])?;
        }
    }
    Ok(found.into_iter().map(|(_, _, whose)| whose).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::migrate;

    #[test]
    fn every_column_that_may_hold_a_sealed_value_is_known() {
        // Whoever adds a column of bytes says here what they are, and to `SECRETS` or `MANIFESTS` when they are sealed.
        const HASHES: [(&str, &str); 4] =
            [("api_keys", "key_sha256"), ("attempts", "report_sha256"), ("audit", "hash"), ("audit", "previous_hash")];
        let dir = tempfile::tempdir().unwrap();
        let db = migrate::open_writer(&dir.path().join("test.db"), 512).unwrap();
        let columns = "SELECT m.name, c.name FROM sqlite_schema m JOIN pragma_table_info(m.name) c \
                       WHERE m.type = 'table' AND c.type = 'BLOB' ORDER BY 1, 2";
        let mut select = db.prepare(columns).unwrap();
        let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
        let found: BTreeSet<_> = select.query_map([], read).unwrap().map(Result::unwrap).collect();
        let sealed = SECRETS.iter().map(|(table, _)| (*table, "sealed_secrets"));
        let sealed = sealed.chain(MANIFESTS.map(|table| (table, "sealed")));
        let known = sealed.chain(HASHES).map(|(table, column)| (table.to_owned(), column.to_owned())).collect();
        assert_eq!(found, known);
    }

    #[test]
    fn the_secrets_of_specs_that_a_cluster_had_and_all_manifests_are_sealed_anew_too() {
        let dir = tempfile::tempdir().unwrap();
        let db = migrate::open_writer(&dir.path().join("test.db"), 512).unwrap();
        let id = uuid::Uuid::from_u128(7);
        let script = format!(
            "INSERT INTO clusters (id, environment, name, phase, revision, fence, conditions, created_at, updated_at, \
                 sealed_secrets, spec) VALUES ('{id}', 'prod', 'web', 'ready', 2, 0, '[]', 1, 1, x'02', '{{}}'); \
             INSERT INTO revisions (cluster_id, number, operation, requested_by, created_at, sealed_secrets, spec) \
                 VALUES ('{id}', 1, 'o', 'ann', 1, x'01', '{{}}'), ('{id}', 2, 'o', 'ann', 1, x'02', '{{}}'); \
             INSERT INTO environment_resources (environment, name, revision, mode, digest, wanted, requested_by, \
                 created_at, updated_at, sealed) VALUES ('prod', 'page', 1, 'sync', 'd', '[]', 'ann', 1, 1, x'03'); \
             INSERT INTO resources (cluster_id, environment, name, revision, mode, digest, wanted, objects, state, faults, \
                 inherited, withdrawn, requested_by, created_at, updated_at, sealed) \
                 VALUES ('{id}', 'prod', 'page', 1, 'sync', 'd', '[]', '[]', 'pending', '[]', 1, 0, 'ann', 1, 1, x'03');"
        );
        db.execute_batch(&script).unwrap();
        let anew = |_: &SealedFor, sealed: &[u8]| Ok(Some(vec![sealed[0] + 10]));
        assert_eq!(reseal(&db, anew).unwrap(), 3, "one cluster, two manifests");
        let sum = "SELECT (SELECT group_concat(hex(sealed_secrets)) FROM clusters), \
                   (SELECT group_concat(hex(sealed_secrets)) FROM (SELECT * FROM revisions ORDER BY number)), \
                   (SELECT hex(sealed) FROM resources) || (SELECT hex(sealed) FROM environment_resources)";
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let found: (String, String, String) = db.query_row(sum, [], read).unwrap();
        assert_eq!(found, ("0C".to_owned(), "0B,0C".to_owned(), "0D0D".to_owned()));
    }
}
