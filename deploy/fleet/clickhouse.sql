-- ClickHouse (22.8 or newer) for the lines that a fleet's Jobs print, one document a line (lib/model/SCHEMA.md):
--   kubectl -n ctriage logs -l app.kubernetes.io/part-of=ctriage-fleet --all-containers --tail=-1 --max-log-requests=1000 |
--     clickhouse-client --query 'INSERT INTO ctriage.lines FORMAT LineAsString'
-- or whatever ships logs of pods, the text of a log line as `line`. Columns are called as the keys are. Of a container
-- what is not asked for across nodes is left out, its environment above all, which may hold secrets: the line itself
-- is not kept.

CREATE DATABASE IF NOT EXISTS ctriage;

CREATE TABLE ctriage.lines (line String) ENGINE = Null;

-- sweep: the containers of a node
CREATE TABLE ctriage.container (
  received DateTime64(9, 'UTC') DEFAULT now64(9, 'UTC'),
  node LowCardinality(String),
  target String,
  id String,
  name String,
  engine LowCardinality(String),
  engine_namespace LowCardinality(String),
  state LowCardinality(String),
  init_pid UInt64,
  attempt UInt64,
  created_at Nullable(DateTime64(9, 'UTC')),
  started_at Nullable(DateTime64(9, 'UTC')),
  image String,
  image_id String,
  image_digest String,
  args Array(String),
  uid UInt64,
  gid UInt64,
  read_only_root Bool,
  capabilities Array(LowCardinality(String)),
  rights Array(LowCardinality(String)),
  seccomp Bool,
  no_new_privs Bool,
  processes UInt64,
  peers Array(String),
  listens Array(String),
  findings_left_out UInt64
) ENGINE = MergeTree ORDER BY (node, target, id, received);

CREATE MATERIALIZED VIEW ctriage.container_of_sweep TO ctriage.container AS
SELECT node, target,
  JSONExtractString(swept, 'container', 'id') AS id,
  JSONExtractString(swept, 'container', 'name') AS name,
  JSONExtractString(swept, 'container', 'engine') AS engine,
  JSONExtractString(swept, 'container', 'engine_namespace') AS engine_namespace,
  JSONExtractString(swept, 'container', 'state') AS state,
  JSONExtractUInt(swept, 'container', 'init_pid') AS init_pid,
  JSONExtractUInt(swept, 'container', 'attempt') AS attempt,
  parseDateTime64BestEffortOrNull(JSONExtractString(swept, 'container', 'created_at'), 9, 'UTC') AS created_at,
  parseDateTime64BestEffortOrNull(JSONExtractString(swept, 'container', 'started_at'), 9, 'UTC') AS started_at,
  JSONExtractString(swept, 'container', 'image') AS image,
  JSONExtractString(swept, 'container', 'image_id') AS image_id,
  JSONExtractString(swept, 'container', 'image_digest') AS image_digest,
  JSONExtract(swept, 'container', 'args', 'Array(String)') AS args,
  JSONExtractUInt(swept, 'container', 'uid') AS uid,
  JSONExtractUInt(swept, 'container', 'gid') AS gid,
  JSONExtractBool(swept, 'container', 'read_only_root') AS read_only_root,
  JSONExtract(swept, 'container', 'capabilities', 'Array(String)') AS capabilities,
  JSONExtract(swept, 'container', 'rights', 'Array(String)') AS rights,
  JSONExtractBool(swept, 'container', 'seccomp') AS seccomp,
  JSONExtractBool(swept, 'container', 'no_new_privs') AS no_new_privs,
  JSONExtractUInt(swept, 'processes') AS processes,
  JSONExtract(swept, 'peers', 'Array(String)') AS peers,
  JSONExtract(swept, 'listens', 'Array(String)') AS listens,
  JSONExtractUInt(swept, 'findings_left_out') AS findings_left_out
FROM (SELECT node, JSONExtractString(swept_target, 'target') AS target,
             arrayJoin(JSONExtractArrayRaw(swept_target, 'containers')) AS swept
      FROM (SELECT JSONExtractString(line, 'node') AS node, arrayJoin(JSONExtractArrayRaw(line, 'targets')) AS swept_target
            FROM ctriage.lines WHERE JSONExtractString(line, 'schema') = 'ctriage.sweep/1'));

-- sweep: what they run; who else runs the same bytes is a query over sha256
CREATE TABLE ctriage.program (
  received DateTime64(9, 'UTC') DEFAULT now64(9, 'UTC'),
  node LowCardinality(String),
  target String,
  container String,
  path String,
  origin LowCardinality(String),
  sha256 String,
  pid UInt64
) ENGINE = MergeTree ORDER BY (sha256, node, target, received);

CREATE MATERIALIZED VIEW ctriage.program_of_sweep TO ctriage.program AS
SELECT node, target, container,
  JSONExtractString(program, 'path') AS path,
  JSONExtractString(program, 'origin') AS origin,
  JSONExtractString(program, 'sha256') AS sha256,
  JSONExtractUInt(program, 'pid') AS pid
FROM (SELECT node, target, JSONExtractString(swept, 'container', 'id') AS container,
             arrayJoin(JSONExtractArrayRaw(swept, 'programs')) AS program
      FROM (SELECT node, JSONExtractString(swept_target, 'target') AS target,
                   arrayJoin(JSONExtractArrayRaw(swept_target, 'containers')) AS swept
            FROM (SELECT JSONExtractString(line, 'node') AS node, arrayJoin(JSONExtractArrayRaw(line, 'targets')) AS swept_target
                  FROM ctriage.lines WHERE JSONExtractString(line, 'schema') = 'ctriage.sweep/1')));

-- sweep: what rules named
CREATE TABLE ctriage.finding (
  received DateTime64(9, 'UTC') DEFAULT now64(9, 'UTC'),
  node LowCardinality(String),
  target String,
  id String,
  key String,
  rule LowCardinality(String),
  title LowCardinality(String),
  severity Enum8('info' = 1, 'low' = 2, 'medium' = 3, 'high' = 4, 'critical' = 5),
  attack Array(LowCardinality(String)),
  artifact LowCardinality(String),
  container String,
  pid Nullable(UInt64),
  path String,
  what String,
  at Nullable(DateTime64(9, 'UTC')),
  next String
) ENGINE = MergeTree ORDER BY (severity, rule, node, received);

CREATE MATERIALIZED VIEW ctriage.finding_of_sweep TO ctriage.finding AS
SELECT node, target,
  JSONExtractString(found, 'id') AS id,
  JSONExtractString(found, 'key') AS key,
  JSONExtractString(found, 'rule') AS rule,
  JSONExtractString(found, 'title') AS title,
  JSONExtractString(found, 'severity') AS severity,
  JSONExtract(found, 'attack', 'Array(String)') AS attack,
  JSONExtractString(found, 'artifact') AS artifact,
  JSONExtractString(found, 'container') AS container,
  JSONExtract(found, 'pid', 'Nullable(UInt64)') AS pid,
  JSONExtractString(found, 'path') AS path,
  JSONExtractString(found, 'what') AS what,
  parseDateTime64BestEffortOrNull(JSONExtractString(found, 'at'), 9, 'UTC') AS at,
  JSONExtractString(found, 'next') AS next
FROM (SELECT node, target, arrayJoin(JSONExtractArrayRaw(swept, 'findings')) AS found
      FROM (SELECT node, JSONExtractString(swept_target, 'target') AS target,
                   arrayJoin(JSONExtractArrayRaw(swept_target, 'containers')) AS swept
            FROM (SELECT JSONExtractString(line, 'node') AS node, arrayJoin(JSONExtractArrayRaw(line, 'targets')) AS swept_target
                  FROM ctriage.lines WHERE JSONExtractString(line, 'schema') = 'ctriage.sweep/1')));

-- sweep -f: indicators that were found
CREATE TABLE ctriage.indicator_match (
  received DateTime64(9, 'UTC') DEFAULT now64(9, 'UTC'),
  node LowCardinality(String),
  target String,
  kind LowCardinality(String),
  indicator String,
  container String,
  pid Nullable(UInt64),
  `where` String
) ENGINE = MergeTree ORDER BY (indicator, node, target, received);

CREATE MATERIALIZED VIEW ctriage.indicator_match_of_sweep TO ctriage.indicator_match AS
SELECT node, target,
  JSONExtractString(hit, 'kind') AS kind,
  JSONExtractString(hit, 'indicator') AS indicator,
  JSONExtractString(hit, 'container') AS container,
  JSONExtract(hit, 'pid', 'Nullable(UInt64)') AS pid,
  JSONExtractString(hit, 'where') AS `where`
FROM (SELECT node, target, arrayJoin(JSONExtractArrayRaw(swept, 'matches')) AS hit
      FROM (SELECT node, JSONExtractString(swept_target, 'target') AS target,
                   arrayJoin(JSONExtractArrayRaw(swept_target, 'containers')) AS swept
            FROM (SELECT JSONExtractString(line, 'node') AS node, arrayJoin(JSONExtractArrayRaw(line, 'targets')) AS swept_target
                  FROM ctriage.lines WHERE JSONExtractString(line, 'schema') = 'ctriage.sweep/1')));

-- sweep: what could not be seen, of the node (no target) and of each target; a target that could not be swept at all is
-- lost, too
CREATE TABLE ctriage.gap (
  received DateTime64(9, 'UTC') DEFAULT now64(9, 'UTC'),
  node LowCardinality(String),
  target String,
  impact Enum8('note' = 1, 'degraded' = 2, 'lost' = 3),
  artifact LowCardinality(String),
  origin String,
  code LowCardinality(String),
  reason String,
  at Nullable(DateTime64(9, 'UTC'))
) ENGINE = MergeTree ORDER BY (impact, node, target, received);

CREATE MATERIALIZED VIEW ctriage.gap_of_node TO ctriage.gap AS
SELECT node, '' AS target,
  JSONExtractString(missing, 'impact') AS impact,
  JSONExtractString(missing, 'artifact') AS artifact,
  JSONExtractString(missing, 'origin') AS origin,
  JSONExtractString(missing, 'code') AS code,
  JSONExtractString(missing, 'reason') AS reason,
  parseDateTime64BestEffortOrNull(JSONExtractString(missing, 'at'), 9, 'UTC') AS at
FROM (SELECT JSONExtractString(line, 'node') AS node, arrayJoin(JSONExtractArrayRaw(line, 'gaps')) AS missing
      FROM ctriage.lines WHERE JSONExtractString(line, 'schema') = 'ctriage.sweep/1');

CREATE MATERIALIZED VIEW ctriage.gap_of_target TO ctriage.gap AS
SELECT node, target,
  JSONExtractString(missing, 'impact') AS impact,
  JSONExtractString(missing, 'artifact') AS artifact,
  JSONExtractString(missing, 'origin') AS origin,
  JSONExtractString(missing, 'code') AS code,
  JSONExtractString(missing, 'reason') AS reason,
  parseDateTime64BestEffortOrNull(JSONExtractString(missing, 'at'), 9, 'UTC') AS at
FROM (SELECT node, JSONExtractString(swept_target, 'target') AS target,
             arrayJoin(JSONExtractArrayRaw(swept_target, 'gaps')) AS missing
      FROM (SELECT JSONExtractString(line, 'node') AS node, arrayJoin(JSONExtractArrayRaw(line, 'targets')) AS swept_target
            FROM ctriage.lines WHERE JSONExtractString(line, 'schema') = 'ctriage.sweep/1'));

CREATE MATERIALIZED VIEW ctriage.gap_of_error TO ctriage.gap AS
SELECT JSONExtractString(line, 'node') AS node,
  JSONExtractString(swept_target, 'target') AS target,
  'lost' AS impact,
  'sweep' AS artifact,
  JSONExtractString(swept_target, 'error') AS reason
FROM (SELECT line, arrayJoin(JSONExtractArrayRaw(line, 'targets')) AS swept_target
      FROM ctriage.lines WHERE JSONExtractString(line, 'schema') = 'ctriage.sweep/1')
WHERE JSONHas(swept_target, 'error');

-- collect: the bundles; the name of one begins with its case and its node
CREATE TABLE ctriage.bundle (
  received DateTime64(9, 'UTC') DEFAULT now64(9, 'UTC'),
  target String,
  exit_status UInt64,
  error String,
  critical UInt64,
  high UInt64,
  path String,
  manifest_sha256 String,
  size_bytes UInt64,
  complete Bool,
  not_sealed String,
  encrypted_to Array(String),
  signed_by String,
  took_ns UInt64,
  gaps_lost UInt64
) ENGINE = MergeTree ORDER BY (path, received);

CREATE MATERIALIZED VIEW ctriage.bundle_of_collect TO ctriage.bundle AS
SELECT
  JSONExtractString(taken, 'target') AS target,
  JSONExtractUInt(taken, 'exit_status') AS exit_status,
  JSONExtractString(taken, 'error') AS error,
  JSONExtractUInt(taken, 'critical') AS critical,
  JSONExtractUInt(taken, 'high') AS high,
  JSONExtractString(taken, 'bundle', 'path') AS path,
  JSONExtractString(taken, 'bundle', 'manifest_sha256') AS manifest_sha256,
  JSONExtractUInt(taken, 'bundle', 'size_bytes') AS size_bytes,
  JSONExtractBool(taken, 'bundle', 'complete') AS complete,
  JSONExtractString(taken, 'bundle', 'not_sealed') AS not_sealed,
  JSONExtract(taken, 'bundle', 'encrypted_to', 'Array(String)') AS encrypted_to,
  JSONExtractString(taken, 'bundle', 'signed_by') AS signed_by,
  JSONExtractUInt(taken, 'bundle', 'took_ns') AS took_ns,
  JSONExtractUInt(taken, 'bundle', 'counts', 'gaps_lost') AS gaps_lost
FROM (SELECT arrayJoin(JSONExtractArrayRaw(line, 'bundles')) AS taken
      FROM ctriage.lines WHERE JSONExtractString(line, 'schema') = 'ctriage.collect_many/1');

-- export: what is where by now; of several lines for a bundle and place the last holds
CREATE TABLE ctriage.sent (
  received DateTime64(9, 'UTC') DEFAULT now64(9, 'UTC'),
  bundle String,
  encrypted Bool,
  place String,
  complete Bool,
  proof LowCardinality(String),
  volumes UInt64,
  volumes_before UInt64,
  size_bytes UInt64,
  took_ns UInt64,
  why String
) ENGINE = MergeTree ORDER BY (bundle, place, received);

CREATE MATERIALIZED VIEW ctriage.sent_of_export TO ctriage.sent AS
SELECT bundle, encrypted,
  JSONExtractString(destination, 'place') AS place,
  JSONExtractBool(destination, 'complete') AS complete,
  JSONExtractString(destination, 'proof') AS proof,
  JSONExtractUInt(destination, 'volumes') AS volumes,
  JSONExtractUInt(destination, 'volumes_before') AS volumes_before,
  JSONExtractUInt(destination, 'size_bytes') AS size_bytes,
  JSONExtractUInt(destination, 'took_ns') AS took_ns,
  JSONExtractString(destination, 'why') AS why
FROM (SELECT JSONExtractString(line, 'bundle') AS bundle, JSONExtractBool(line, 'encrypted') AS encrypted,
             arrayJoin(JSONExtractArrayRaw(line, 'destinations')) AS destination
      FROM ctriage.lines WHERE JSONExtractString(line, 'schema') = 'ctriage.export/1');
