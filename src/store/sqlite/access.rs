//! Rows of virtual hosts, users, permissions and limits.

use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, Error, Params, Row, params};

use super::database;
use crate::store::StoreError;
use crate::store::access::{
    AccessChange, AccessRows, LimitOwner, LimitRow, LimitedResource, PermissionRow, TopicPermissionRow,
    UserRow, VhostRow,
};

/// Makes a change.
pub(super) fn apply(connection: &Connection, change: &AccessChange) -> Result<(), StoreError> {
    write(connection, change).map_err(database("write who may do what"))
}

/// Reads everything.
pub(super) fn read(connection: &Connection) -> Result<AccessRows, StoreError> {
    let all = || {
        Ok(AccessRows {
            vhosts: select(connection, "SELECT * FROM vhost", vhost)?,
            users: select(connection, "SELECT * FROM user", user)?,
            permissions: select(connection, "SELECT * FROM permission", permission)?,
            topic_permissions: select(connection, "SELECT * FROM topic_permission", topic_permission)?,
            limits: select(connection, "SELECT * FROM access_limit", limit)?,
        })
    };
    all().map_err(database("read who may do what"))
}

/// Whether a user was ever set or deleted.
pub(super) fn had_users(connection: &Connection) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM meta WHERE name = 'had_users')";
    let found = connection.query_row(sql, [], |row| row.get(0));
    found.map_err(database("read who may do what"))
}

fn write(connection: &Connection, change: &AccessChange) -> rusqlite::Result<()> {
    if change.is_of_user() {
        run(
            connection,
            "INSERT OR IGNORE INTO meta VALUES ('had_users', 1)",
            [],
        )?;
    }
    match change {
        AccessChange::SetVhost(row) => run(
            connection,
            "INSERT OR REPLACE INTO vhost VALUES (?1, ?2, ?3, ?4)",
            params![row.name, row.description, join(&row.tags), row.default_queue_type],
        ),
        AccessChange::DeleteVhost(vhost) => delete_vhost(connection, vhost),
        AccessChange::SetUser(row) => run(
            connection,
            "INSERT OR REPLACE INTO user VALUES (?1, ?2, ?3, ?4)",
            params![row.name, row.password_hash, row.algorithm, join(&row.tags)],
        ),
        AccessChange::DeleteUser(user) => delete_user(connection, user),
        AccessChange::SetPermission(row) => run(
            connection,
            "INSERT OR REPLACE INTO permission VALUES (?1, ?2, ?3, ?4, ?5)",
            params![row.user, row.vhost, row.configure, row.write, row.read],
        ),
        AccessChange::ClearPermission { user, vhost } => run(
            connection,
            "DELETE FROM permission WHERE user = ?1 AND vhost = ?2",
            [user, vhost],
        ),
        AccessChange::SetTopicPermission(row) => run(
            connection,
            "INSERT OR REPLACE INTO topic_permission VALUES (?1, ?2, ?3, ?4, ?5)",
            params![row.user, row.vhost, row.exchange, row.write, row.read],
        ),
        AccessChange::ClearTopicPermission {
            user,
            vhost,
            exchange,
        } => run(
            connection,
            "DELETE FROM topic_permission WHERE user = ?1 AND vhost = ?2 AND exchange = coalesce(?3, exchange)",
            params![user, vhost, exchange],
        ),
        AccessChange::SetLimit(row) => {
            let (of_vhost, name) = owner(&row.owner);
            let sql = "INSERT OR REPLACE INTO access_limit VALUES (?1, ?2, ?3, ?4)";
            let resource = row.resource.to_string();
            run(connection, sql, params![of_vhost, name, resource, row.max])
        }
        AccessChange::ClearLimit {
            owner: whose,
            resource,
        } => {
            let (of_vhost, name) = owner(whose);
            let sql = "DELETE FROM access_limit WHERE of_vhost = ?1 AND name = ?2 AND resource = ?3";
            run(connection, sql, params![of_vhost, name, resource.to_string()])
        }
    }
}

fn delete_vhost(connection: &Connection, vhost: &Arc<str>) -> rusqlite::Result<()> {
    run(connection, "DELETE FROM vhost WHERE name = ?1", [vhost])?;
    run(connection, "DELETE FROM permission WHERE vhost = ?1", [vhost])?;
    run(
        connection,
        "DELETE FROM topic_permission WHERE vhost = ?1",
        [vhost],
    )?;
    run(connection, "DELETE FROM policy WHERE vhost = ?1", [vhost])?;
    let sql = "DELETE FROM access_limit WHERE of_vhost AND name = ?1";
    run(connection, sql, [vhost])
}

fn delete_user(connection: &Connection, user: &Arc<str>) -> rusqlite::Result<()> {
    run(connection, "DELETE FROM user WHERE name = ?1", [user])?;
    run(connection, "DELETE FROM permission WHERE user = ?1", [user])?;
    run(connection, "DELETE FROM topic_permission WHERE user = ?1", [user])?;
    let sql = "DELETE FROM access_limit WHERE NOT of_vhost AND name = ?1";
    run(connection, sql, [user])
}

fn run(connection: &Connection, sql: &str, values: impl Params) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute(values).map(|_| ())
}

fn select<T>(
    connection: &Connection,
    sql: &str,
    make: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| make(row))?;
    rows.collect()
}

fn vhost(row: &Row<'_>) -> rusqlite::Result<VhostRow> {
    Ok(VhostRow {
        name: row.get(0)?,
        description: row.get(1)?,
        tags: split(&row.get::<_, String>(2)?),
        default_queue_type: row.get(3)?,
    })
}

fn user(row: &Row<'_>) -> rusqlite::Result<UserRow> {
    Ok(UserRow {
        name: row.get(0)?,
        password_hash: row.get(1)?,
        algorithm: row.get(2)?,
        tags: split(&row.get::<_, String>(3)?),
    })
}

fn permission(row: &Row<'_>) -> rusqlite::Result<PermissionRow> {
    Ok(PermissionRow {
        user: row.get(0)?,
        vhost: row.get(1)?,
        configure: row.get(2)?,
        write: row.get(3)?,
        read: row.get(4)?,
    })
}

fn topic_permission(row: &Row<'_>) -> rusqlite::Result<TopicPermissionRow> {
    Ok(TopicPermissionRow {
        user: row.get(0)?,
        vhost: row.get(1)?,
        exchange: row.get(2)?,
        write: row.get(3)?,
        read: row.get(4)?,
    })
}

fn limit(row: &Row<'_>) -> rusqlite::Result<LimitRow> {
    let name = row.get(1)?;
    let resource: String = row.get(2)?;
    let known = RESOURCES.iter().find(|known| known.to_string() == resource);
    let resource = known.ok_or_else(|| {
        let reason = format!("{resource:?} is nothing that has a limit");
        Error::FromSqlConversionFailure(2, Type::Text, reason.into())
    })?;
    Ok(LimitRow {
        owner: if row.get(0)? {
            LimitOwner::Vhost(name)
        } else {
            LimitOwner::User(name)
        },
        resource: *resource,
        max: row.get(3)?,
    })
}

fn owner(owner: &LimitOwner) -> (bool, &Arc<str>) {
    match owner {
        LimitOwner::User(name) => (false, name),
        LimitOwner::Vhost(name) => (true, name),
    }
}

/// A row has the name of what it limits.
const RESOURCES: [LimitedResource; 3] = [
    LimitedResource::Connections,
    LimitedResource::Channels,
    LimitedResource::Queues,
];

/// Tags in one text. A tag has no line break: the broker sees to that.
fn join(tags: &[Arc<str>]) -> String {
    tags.join("\n")
}

fn split(tags: &str) -> Vec<Arc<str>> {
    tags.lines().map(Arc::from).collect()
}
