-- A file of the first version: schema, and the queue "old" with three messages.
CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('epoch', 0), ('next_queue', 0);
CREATE TABLE exchange(
    vhost TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, auto_delete INTEGER NOT NULL,
    internal INTEGER NOT NULL, arguments BLOB NOT NULL, PRIMARY KEY(vhost, name)) WITHOUT ROWID;
CREATE TABLE queue(
    id INTEGER PRIMARY KEY, vhost TEXT NOT NULL, name TEXT NOT NULL, durable INTEGER NOT NULL,
    auto_delete INTEGER NOT NULL, arguments BLOB NOT NULL);
CREATE TABLE binding(
    vhost TEXT NOT NULL, source TEXT NOT NULL, to_exchange INTEGER NOT NULL, destination TEXT NOT NULL,
    routing_key BLOB NOT NULL, arguments BLOB NOT NULL,
    PRIMARY KEY(vhost, source, to_exchange, destination, routing_key, arguments)) WITHOUT ROWID;
CREATE TABLE summary(
    queue INTEGER PRIMARY KEY, messages INTEGER NOT NULL, body_bytes INTEGER NOT NULL,
    next INTEGER NOT NULL, delivered_before INTEGER NOT NULL, redelivered_before INTEGER NOT NULL);
CREATE TABLE segment(
    id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, records BLOB NOT NULL, data BLOB NOT NULL);
CREATE TABLE settled(id INTEGER PRIMARY KEY, bits BLOB NOT NULL);
CREATE TABLE returned(id INTEGER PRIMARY KEY, count INTEGER NOT NULL);
CREATE TABLE shared(id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE sharer(id INTEGER PRIMARY KEY, segments INTEGER NOT NULL);
CREATE TABLE garbage(from_id INTEGER PRIMARY KEY, to_id INTEGER NOT NULL);
PRAGMA application_id = 0x4c767274;
PRAGMA user_version = 1;
UPDATE meta SET value = 2 WHERE name = 'next_queue';
INSERT INTO queue VALUES (1, '/', 'old', 1, 0, x'');
INSERT INTO summary VALUES (1, 3, 6, 13, 0, 0);
INSERT INTO segment VALUES ((1 << 39) + 10, 1, x'00035902',
    x'00036b6579003c00000000000000000002100002686900036b6579003c00000000000000000002100002686900036b6579003c000000000000000000021000026869');
UPDATE meta SET value = 1 WHERE name = 'epoch';
