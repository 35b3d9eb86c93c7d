BEGIN TRANSACTION;
CREATE TABLE block (
	host TEXT NOT NULL, 
	change_digest TEXT NOT NULL, 
	run TEXT NOT NULL, 
	PRIMARY KEY (host, change_digest)
);
INSERT INTO "block" VALUES('a','d','r1');
CREATE TABLE host_part (
	number INTEGER NOT NULL, 
	run TEXT NOT NULL, 
	host TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (number), 
	UNIQUE (run, host)
);
INSERT INTO "host_part" VALUES(1,'r1','a','{"after":{},"before":{},"cohort":"","host":"a","measures":{},"reason":"","steps":[],"verdict":"succeeded","wave":null}');
CREATE TABLE maintenance_record (
	seq INTEGER NOT NULL, 
	id TEXT NOT NULL, 
	prev TEXT NOT NULL, 
	hash TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (seq), 
	UNIQUE (id), 
	UNIQUE (hash)
);
INSERT INTO "maintenance_record" VALUES(1,'r1','','3bcdde40cb94003dfd5b43a003ed14549402ee90717d4182977d143a74c19fb4','{"hosts_digest":"61f5aa9ece4cf3ab4895e8ce94b86f20d6401797f363407b401242bc2f22ddbe","plan":"p"}');
CREATE TABLE meta (
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "meta" VALUES('state_id','01M81DW7XYC7RJXTDS02NHKDQM');
INSERT INTO "meta" VALUES('fence','3');
INSERT INTO "meta" VALUES('schema_version','1');
CREATE TABLE note (
	run TEXT NOT NULL, 
	host TEXT NOT NULL, 
	step TEXT NOT NULL, 
	detail TEXT NOT NULL, 
	since TEXT NOT NULL, 
	wave INTEGER, 
	PRIMARY KEY (run, host)
);
INSERT INTO "note" VALUES('r2','a','apply','1 of 2','2026-11-22T10:47:21Z',NULL);
CREATE TABLE outcome (
	run TEXT NOT NULL, 
	host TEXT NOT NULL, 
	verdict TEXT NOT NULL, 
	PRIMARY KEY (run, host)
);
INSERT INTO "outcome" VALUES('r1','a','succeeded');
CREATE TABLE run (
	number INTEGER NOT NULL, 
	id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	"plan" TEXT NOT NULL, 
	state TEXT NOT NULL, 
	request TEXT NOT NULL, 
	wave INTEGER, 
	started_at TEXT NOT NULL, 
	ended_at TEXT, 
	wish TEXT NOT NULL, 
	wish_by TEXT NOT NULL, 
	wish_reason TEXT NOT NULL, 
	PRIMARY KEY (number), 
	UNIQUE (id)
);
INSERT INTO "run" VALUES(1,'r1','patch','p','ended','{"hosts":["a"]}',NULL,'2026-05-01T12:00:00Z',NULL,'','','');
INSERT INTO "run" VALUES(2,'r2','patch','p','running','{"hosts":["a"]}',NULL,'2026-05-01T12:00:00Z',NULL,'pause','anna@ops1','lunch');
CREATE TABLE sighting (
	cohort TEXT NOT NULL, 
	package TEXT NOT NULL, 
	version TEXT NOT NULL, 
	seen_at TEXT NOT NULL, 
	PRIMARY KEY (cohort, package, version)
);
INSERT INTO "sighting" VALUES('debian','x','1','2026-05-01T12:00:00Z');
CREATE TABLE undo (
	number INTEGER NOT NULL, 
	run TEXT NOT NULL, 
	host TEXT NOT NULL, 
	operation TEXT NOT NULL, 
	undo TEXT NOT NULL, 
	made_at TEXT NOT NULL, 
	keep_until TEXT NOT NULL, 
	undone_by TEXT, 
	PRIMARY KEY (number), 
	UNIQUE (run, host)
);
INSERT INTO "undo" VALUES(1,'r1','a','patch','{"x":"1"}','m','k',NULL);
CREATE INDEX ix_run_state ON run (state);
CREATE INDEX ix_host_part_host ON host_part (host);
CREATE INDEX ix_undo_host ON undo (host);
CREATE TRIGGER record_no_update BEFORE UPDATE ON maintenance_record BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER record_no_delete BEFORE DELETE ON maintenance_record BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER record_chain BEFORE INSERT ON maintenance_record BEGIN SELECT CASE WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM maintenance_record) OR NEW.prev IS NOT coalesce((SELECT hash FROM maintenance_record ORDER BY seq DESC LIMIT 1), '') THEN RAISE(ABORT, 'broken chain') END; END;
COMMIT;
