//! The set of managed resources that every new cluster of an environment gets. A change of it leaves the
//! clusters that are there as they are.

use cratekube_common::domain::cluster::resource::{MAX_RESOURCES, ResourceState};
use cratekube_common::domain::name::EnvironmentName;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use super::rows::{self, int, json};
use super::{audit, resources};
use crate::store::{DeleteResource, PutResource, Resource, ResourceChange, ResourceStanding, SealedResource, Seen};

/// Columns of [`read`], in order.
const DEFAULT: &str = "name, revision, mode, digest, wanted, requested_by, created_at, updated_at, environment, sealed";

/// Keeps a resource of the set.
pub(super) fn put(db: &Connection, request: &PutResource) -> Result<ResourceChange, Fault> {
    let environment = &request.holder.environment;
    let present = one(db, environment, request.resource.name.as_str())?.map(|sealed| sealed.resource);
    if let Some(answer) = resources::judge(present.as_ref(), &request.resource, request.seen, false) {
        return Ok(answer);
    }
    if present.is_none() && list(db, environment)?.len() >= MAX_RESOURCES {
        return Ok(ResourceChange::TooMany);
    }
    let (wanted, now) = (&request.resource, request.now.as_millis());
    let revision = present.as_ref().map_or(1, |there| there.revision.saturating_add(1));
    db.prepare_cached(
        "INSERT INTO environment_resources (environment, name, revision, mode, digest, wanted, requested_by, created_at, \
             updated_at, sealed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9) \
         ON CONFLICT (environment, name) DO UPDATE SET revision = excluded.revision, mode = excluded.mode, \
             digest = excluded.digest, wanted = excluded.wanted, requested_by = excluded.requested_by, \
             updated_at = excluded.updated_at, sealed = excluded.sealed",
    )?
    .execute(params![
        environment.as_str(),
        wanted.name.as_str(),
        int(revision)?,
        wanted.mode.as_str(),
        wanted.digest,
        json(&wanted.wanted)?,
        request.requested_by,
        now,
        wanted.sealed,
    ])?;
    audit::append(db, &request.audit, request.now)?;
    let kept = one(db, environment, wanted.name.as_str())?.map(|sealed| sealed.resource);
    let missing = || Fault::Damaged("a resource that was kept is not there".into());
    Ok(ResourceChange::Kept {
        resource: Box::new(kept.ok_or_else(missing)?),
        created: present.is_none(),
        operation: None,
    })
}

/// Deletes a resource of the set.
pub(super) fn delete(db: &Connection, request: &DeleteResource) -> Result<ResourceChange, Fault> {
    let environment = &request.holder.environment;
    let Some(present) = one(db, environment, request.name.as_str())? else { return Ok(ResourceChange::NotFound) };
    if matches!(request.seen, Seen::Revision(revision) if revision != present.resource.revision) {
        return Ok(ResourceChange::Changed(present.resource.revision));
    }
    let sql = "DELETE FROM environment_resources WHERE environment = ?1 AND name = ?2";
    db.prepare_cached(sql)?.execute(params![environment.as_str(), request.name.as_str()])?;
    audit::append(db, &request.audit, request.now)?;
    Ok(ResourceChange::Gone)
}

/// The set, by name.
pub(super) fn list(db: &Connection, environment: &EnvironmentName) -> Result<Vec<Resource>, Fault> {
    let sql = format!("SELECT {DEFAULT} FROM environment_resources WHERE environment = ?1 ORDER BY name");
    let mut select = db.prepare_cached(&sql)?;
    let found = select.query_map([environment.as_str()], |row| Ok(read(row)?.resource))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// One resource of the set, with its manifest.
pub(super) fn one(db: &Connection, environment: &EnvironmentName, name: &str) -> Result<Option<SealedResource>, Fault> {
    let sql = format!("SELECT {DEFAULT} FROM environment_resources WHERE environment = ?1 AND name = ?2");
    Ok(db.prepare_cached(&sql)?.query_row(params![environment.as_str(), name], read).optional()?)
}

fn read(row: &Row<'_>) -> Result<SealedResource, rusqlite::Error> {
    let resource = Resource {
        name: rows::word(row, 0)?,
        revision: rows::count(row, 1)?,
        mode: rows::word(row, 2)?,
        digest: row.get(3)?,
        wanted: rows::document(row, 4)?,
        // It is in the set, and that is all that it is to be.
        status: ResourceStanding {
            state: ResourceState::Applied,
            objects: Vec::new(),
            faults: Vec::new(),
            inherited: false,
            withdrawn: false,
            checked_at: None,
        },
        requested_by: row.get(5)?,
        created_at: rows::time(row, 6)?,
        updated_at: rows::time(row, 7)?,
    };
    Ok(SealedResource { resource, environment: rows::word(row, 8)?, sealed: row.get(9)? })
}
