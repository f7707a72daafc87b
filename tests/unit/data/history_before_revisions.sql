CREATE TABLE zocelery_failures (
	run VARCHAR(64) NOT NULL, 
	node VARCHAR(190) NOT NULL, 
	item VARCHAR(64) NOT NULL, 
	error TEXT NOT NULL, 
	PRIMARY KEY (run, node, item)
);
INSERT INTO "zocelery_failures" VALUES('old-run','a','3','no such file');
CREATE TABLE zocelery_nodes (
	run VARCHAR(64) NOT NULL, 
	unit VARCHAR(64) NOT NULL, 
	node VARCHAR(255) NOT NULL, 
	task VARCHAR(255), 
	state VARCHAR(16) NOT NULL, 
	started FLOAT, 
	ended FLOAT, 
	result JSON, 
	error TEXT, 
	PRIMARY KEY (run, unit)
);
INSERT INTO "zocelery_nodes" VALUES('old-run','unit','a','echo','done',1.79523595077331662179e+09,1.79523595077550339699e+09,'{"x": 1}',NULL);
CREATE TABLE zocelery_runs (
	run VARCHAR(64) NOT NULL, 
	version INTEGER NOT NULL, 
	recipe VARCHAR(255) NOT NULL, 
	document JSON NOT NULL, 
	parameters JSON NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	host VARCHAR(255), 
	submitted FLOAT NOT NULL, 
	ended FLOAT, 
	error TEXT, 
	counts JSON, 
	PRIMARY KEY (run)
);
INSERT INTO "zocelery_runs" VALUES('old-run',1,'words','{"nodes": {}}','{"word": "hello"}','finished','host',1.0,1.79523595078890562054e+09,NULL,'{"a": {"done": 1}}');
CREATE TABLE zocelery_tries (
	run VARCHAR(64) NOT NULL, 
	unit VARCHAR(64) NOT NULL, 
	number INTEGER NOT NULL, 
	node VARCHAR(255) NOT NULL, 
	host VARCHAR(255), 
	state VARCHAR(16) NOT NULL, 
	started FLOAT, 
	ended FLOAT, 
	error TEXT, 
	PRIMARY KEY (run, unit, number)
);
INSERT INTO "zocelery_tries" VALUES('old-run','unit',1,'a','host','retry',1.7952359507545669079e+09,1.79523595076813912395e+09,'busy');
INSERT INTO "zocelery_tries" VALUES('old-run','unit',2,'a','host','done',1.79523595077331662179e+09,1.79523595077519083017e+09,NULL);
