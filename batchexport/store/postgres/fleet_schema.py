"""What a database has for workers: who they are, what is submitted, and who owns each real project."""

from __future__ import annotations

from batchexport.store.postgres.connection import CATALOGUE

WORKER, READER = "batchexport_worker", "batchexport_reader"

#: Of databases from format 2 on. `plan` is NULL for a run that is not the workers' business.
STATEMENTS = (
    f"""ALTER TABLE {CATALOGUE}.run
        ADD COLUMN plan text,
        ADD COLUMN standing text NOT NULL DEFAULT 'running'
            CHECK (standing IN ('running', 'paused', 'cancelled', 'ended')),
        ADD COLUMN note text,
        ADD COLUMN failed_before bigint NOT NULL DEFAULT 0""",
    f"""CREATE TABLE {CATALOGUE}.worker (
        worker_name text COLLATE "C" PRIMARY KEY,
        host text NOT NULL,
        pid bigint NOT NULL,
        version text NOT NULL,
        clouds text NOT NULL,
        slots bigint NOT NULL,
        began_at double precision NOT NULL,
        seen_at double precision NOT NULL,
        lease_until double precision NOT NULL,
        is_draining boolean NOT NULL DEFAULT false,
        note text)""",
    # One line for each project that was ever signed in to: which target of which run is at work on it.
    f"""CREATE TABLE {CATALOGUE}.project (
        project_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        project_id text COLLATE "C" NOT NULL,
        region text,
        identity_url text,
        block_storage_url text,
        schema_name text NOT NULL,
        target_id bigint NOT NULL)""",
    f"CREATE INDEX project_by_id ON {CATALOGUE}.project (project_id)",
    f"GRANT UPDATE (plan, standing, note, failed_before) ON {CATALOGUE}.run TO {WORKER}",
    f"GRANT SELECT, INSERT, UPDATE, DELETE ON {CATALOGUE}.worker, {CATALOGUE}.project TO {WORKER}",
    f"GRANT SELECT ON {CATALOGUE}.worker, {CATALOGUE}.project TO {READER}",
)
