-- serves: 1
-- The first schema. Times are nanoseconds since the epoch; numbers of states are those of the kernel's enums. All of it lies
-- in one namespace, so that it can share a database with the tables of an application.

-- One row per run: what lists show and claims look at. Columns in the order of the kernel's RunRow, then whose it is.
-- owner: the member that has it, NULL nobody. claims: how often it has found one. deaths: how many members in a row have died
-- that had it, since its history has grown last. left_by: the dead member that it was taken over from, until it is written again.
-- Pages are left half empty: an update of a run that goes on running finds room beside the old version then, and touches no index, also
-- if all runs of a page are in one batch.
CREATE TABLE perdure.runs (
    key         bigint   PRIMARY KEY,
    id          text     NOT NULL COLLATE "C",
    run_id      bytea    NOT NULL,
    workflow    text     NOT NULL,
    status      smallint NOT NULL,
    note        text     NOT NULL,
    build       text     NOT NULL,
    started_at  bigint   NOT NULL,
    closed_at   bigint,
    wake_at     bigint,
    seq         bigint   NOT NULL,
    block       bytea,
    open_tail   boolean  NOT NULL,
    strikes     integer  NOT NULL,
    followed_by bigint   NOT NULL,
    chain       bigint   NOT NULL,
    request     text     NOT NULL,
    expires_at  bigint,
    parent      bigint   NOT NULL,
    root        bigint   NOT NULL,
    pinned      text     NOT NULL,
    owner       bigint,
    claims      bigint   NOT NULL DEFAULT 0,
    deaths      integer  NOT NULL DEFAULT 0,
    left_by     bigint   NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Finds all runs of an id, and guards that one of them is the newest.
CREATE UNIQUE INDEX runs_by_id ON perdure.runs (id, followed_by);

-- Completed runs (7) are nearly all of them and are found by key; the others are few and asked for by status.
CREATE INDEX runs_by_status ON perdure.runs (status) WHERE status <> 7;

-- What nobody owns and is to wake, and what somebody owns.
CREATE INDEX runs_by_wake_at ON perdure.runs (wake_at) WHERE wake_at IS NOT NULL AND status < 7;
CREATE INDEX runs_by_owner ON perdure.runs (owner, wake_at) WHERE owner IS NOT NULL;

-- What waits for other code, is held (4) or blocked (5), and that nobody owns.
CREATE INDEX runs_unmended ON perdure.runs (key) WHERE owner IS NULL AND status IN (4, 5);

-- Runs that are nobody's child, nearly all, cost no entry.
CREATE INDEX runs_by_parent ON perdure.runs (parent) WHERE parent <> 0;
CREATE INDEX runs_by_root ON perdure.runs (root) WHERE root <> 0;

-- Keys grow with the start of a run: owners give even ones, clients odd ones. The number is half of them.
CREATE SEQUENCE perdure.keys;

-- The events of one run in one commit; seq is the number of the first.
CREATE TABLE perdure.history (
    run    bigint NOT NULL,
    seq    bigint NOT NULL,
    events bytea  NOT NULL,
    PRIMARY KEY (run, seq)
);

-- Attempts that failed, were retried or have logs. Columns in the order of the kernel's AttemptRow.
CREATE TABLE perdure.attempts (
    run        bigint   NOT NULL,
    step       text     NOT NULL COLLATE "C",
    attempt    bigint   NOT NULL,
    state      smallint NOT NULL,
    member     bigint   NOT NULL,
    started_at bigint   NOT NULL,
    ended_at   bigint,
    retry_at   bigint,
    counted    bigint   NOT NULL,
    detail     bytea,
    PRIMARY KEY (run, step, attempt)
);

-- Searchable attributes. Kinds of values have the numbers of the kernel's enum; a list has a row for each of its texts, and
-- `item` counts them. A value lies in the column of its type, the others are NULL.
CREATE TABLE perdure.attributes (
    run    bigint   NOT NULL,
    name   text     NOT NULL COLLATE "C",
    item   integer  NOT NULL,
    kind   smallint NOT NULL,
    text   text COLLATE "C",
    number bigint,
    float  double precision,
    PRIMARY KEY (run, name, item)
);

CREATE INDEX attributes_by_text ON perdure.attributes (name, kind, text) WHERE text IS NOT NULL;
CREATE INDEX attributes_by_number ON perdure.attributes (name, kind, number) WHERE number IS NOT NULL;
CREATE INDEX attributes_by_float ON perdure.attributes (name, kind, float) WHERE float IS NOT NULL;

-- Payloads too large for the history.
CREATE TABLE perdure.blobs (
    run    bigint NOT NULL,
    digest bytea  NOT NULL,
    data   bytea  NOT NULL,
    PRIMARY KEY (run, digest)
);
ALTER TABLE perdure.blobs ALTER COLUMN data SET STORAGE EXTERNAL;

-- Messages nobody has read.
CREATE TABLE perdure.mail (
    id       bigint   GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run      bigint   NOT NULL,
    kind     smallint NOT NULL,
    body     bytea    NOT NULL,
    reply_to text     NOT NULL
);

CREATE INDEX mail_by_run ON perdure.mail (run, id);

-- Answers for clients that have nothing but the database.
CREATE TABLE perdure.replies (
    request    text   PRIMARY KEY,
    code       text   NOT NULL,
    error      text   NOT NULL,
    expires_at bigint NOT NULL,
    data       bytea
);

CREATE INDEX replies_by_expiry ON perdure.replies (expires_at);

-- Every process that has taken part; its number is made by `new_member`. An owner's row is share-locked by each of its commits, and set dead once, for ever. term
-- grows when the owner does not know what became of a commit: one that reaches the server late is refused then. last_key: of one that
-- is dead, the highest key of a run when that was found out. knows: the newest schema that its code knows. emptied: of one that is
-- dead, that no run is its own any more.
CREATE TABLE perdure.members (
    id         bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host       text    NOT NULL,
    pid        bigint  NOT NULL,
    build      text    NOT NULL,
    started_at bigint  NOT NULL,
    serves     boolean NOT NULL,
    alive      boolean NOT NULL DEFAULT true,
    handed_over boolean NOT NULL DEFAULT false,
    term       bigint  NOT NULL DEFAULT 0,
    last_key   bigint,
    knows      integer NOT NULL,
    emptied    boolean NOT NULL DEFAULT false
);

CREATE INDEX members_living ON perdure.members (id) WHERE alive AND NOT serves;
CREATE INDEX members_left ON perdure.members (id) WHERE NOT alive AND NOT serves AND NOT emptied;

-- That owners live: apart from their rows, so that a beat never waits for a commit. turn: the run whose turn it is in, if it has
-- made that known. used: it has committed. mail_after: of very many letters it looks at those with larger numbers next.
-- mail_from: no letters have smaller numbers, or will have; mail_next: nor smaller ones than this, when all transactions before mail_xid
-- have ended. seen_at: when it was beaten last, by the server's clock, for people and clients: nobody is declared dead by it.
-- beat counts its polls, and pulse what it has told beside them.
CREATE TABLE perdure.beats (
    member    bigint PRIMARY KEY,
    beat      bigint NOT NULL,
    pulse     bigint NOT NULL DEFAULT 0,
    lease     bigint NOT NULL,
    workflows text[] NOT NULL DEFAULT '{}',
    turn      bigint NOT NULL DEFAULT 0,
    used      boolean NOT NULL DEFAULT false,
    mail_after bigint NOT NULL DEFAULT 0,
    mail_from bigint NOT NULL DEFAULT 0,
    mail_next bigint NOT NULL DEFAULT 0,
    mail_xid  bigint NOT NULL DEFAULT 0,
    seen_at   timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- What the newest owners know, so that clients without code can check names and arguments. members: who has said so.
CREATE TABLE perdure.definitions (
    kind       text     NOT NULL COLLATE "C",
    name       text     NOT NULL COLLATE "C",
    parameters bytea    NOT NULL,
    members    bigint[] NOT NULL,
    PRIMARY KEY (kind, name)
);

-- The next attempt of each step whose queue has workers of its own; at most one per step. Columns in the order of the
-- kernel's TaskRow. The id gives them their turn. member 0: nobody has taken it. details: of the latest heartbeat.
CREATE TABLE perdure.tasks (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run        bigint NOT NULL,
    step       text   NOT NULL COLLATE "C",
    attempt    bigint NOT NULL,
    queue      text   NOT NULL,
    name       text   NOT NULL,
    start_by   bigint,
    body       bytea  NOT NULL,
    member     bigint NOT NULL,
    claimed_at bigint,
    details    bytea,
    UNIQUE (run, step)
);

CREATE INDEX tasks_waiting ON perdure.tasks (queue, name, id) WHERE member = 0;
CREATE INDEX tasks_taken ON perdure.tasks (member) WHERE member > 0;

-- Processes that take tasks now. The row of one that is taken for dead is deleted: nothing it writes is accepted after that.
-- lease: how long it may be silent after its last beat, in nanoseconds, whoever looks after it.
CREATE TABLE perdure.workers (
    member bigint PRIMARY KEY,
    queues text[] NOT NULL,
    names  text[] NOT NULL,
    beat   bigint NOT NULL,
    lease  bigint NOT NULL,
    used   boolean NOT NULL DEFAULT false,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- What proves that a token was issued by this database.
CREATE TABLE perdure.secret (
    value bytea NOT NULL
);

INSERT INTO perdure.secret
SELECT decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex');

-- Streams: named, append-only outputs of runs. closed_by names the step whose attempt has closed it, '' the workflow itself,
-- NULL nobody; closed_in is that attempt.
CREATE TABLE perdure.streams (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run        bigint NOT NULL,
    name       text   NOT NULL COLLATE "C",
    chunks     bigint NOT NULL,
    size_bytes bigint NOT NULL,
    closed_by  text,
    closed_in  bigint,
    UNIQUE (run, name)
);

-- What was written to a stream at once, as one row: `count` chunks from the offset `first` on.
CREATE TABLE perdure.chunks (
    stream  bigint NOT NULL,
    first   bigint NOT NULL,
    count   bigint NOT NULL,
    step    text   NOT NULL,
    attempt bigint NOT NULL,
    body    bytea  NOT NULL,
    PRIMARY KEY (stream, first)
);

-- Of each step that has written to streams, the latest attempt of it that has, and the number of the last row it has brought: what
-- is brought twice is stored once.
CREATE TABLE perdure.writers (
    run     bigint NOT NULL,
    step    text   NOT NULL COLLATE "C",
    attempt bigint NOT NULL,
    number  bigint NOT NULL,
    PRIMARY KEY (run, step)
) WITH (fillfactor = 50);

-- Updates that were accepted. States have the numbers of the kernel's enum; `detail` is a result or a failure.
CREATE TABLE perdure.updates (
    run         bigint   NOT NULL,
    id          text     NOT NULL,
    name        text     NOT NULL,
    state       smallint NOT NULL,
    accepted_at bigint   NOT NULL,
    ended_at    bigint,
    detail      bytea,
    PRIMARY KEY (run, id)
);

-- The newest value that a run shows under a name.
CREATE TABLE perdure.published (
    run   bigint NOT NULL,
    name  text   NOT NULL COLLATE "C",
    at    bigint NOT NULL,
    value bytea  NOT NULL,
    PRIMARY KEY (run, name)
);

-- What people are asked: one row per human task that is open. Columns in the order of the kernel's HumanTaskRow.
CREATE TABLE perdure.human (
    run        bigint  NOT NULL,
    step       text    NOT NULL COLLATE "C",
    title      text    NOT NULL,
    assignees  text[]  NOT NULL,
    claimed_by text    NOT NULL,
    opened_at  bigint  NOT NULL,
    due_at     bigint,
    remind_at  bigint,
    expires_at bigint,
    reminders  integer NOT NULL,
    overdue    boolean NOT NULL,
    body       bytea   NOT NULL,
    PRIMARY KEY (run, step)
);

CREATE INDEX human_by_age ON perdure.human (opened_at, run, step);
CREATE INDEX human_by_due_at ON perdure.human (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX human_by_assignee ON perdure.human USING gin (assignees);
CREATE INDEX human_by_claimer ON perdure.human (claimed_by) WHERE claimed_by <> '';

-- Vacuum comes to tables through which much goes after so many dead rows, however large they are, and in the others after a
-- fiftieth of them: the defaults wait for a fifth of a table.
ALTER TABLE perdure.mail SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE perdure.tasks SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE perdure.replies SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
ALTER TABLE perdure.beats SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
ALTER TABLE perdure.members SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
ALTER TABLE perdure.workers SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
ALTER TABLE perdure.runs SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 1);
ALTER TABLE perdure.history SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000);
ALTER TABLE perdure.attempts SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000);
ALTER TABLE perdure.blobs SET (autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE perdure.chunks SET (autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_scale_factor = 0.02);
