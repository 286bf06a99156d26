"""Every bound of the engine by name (design, promise 9). Sizes in bytes, text in characters."""

PAYLOAD_INLINE_BYTES = 64 * 1024
"""A payload above this moves to the content-addressed table by itself."""

PAYLOAD_MAX_BYTES = 16 * 1024 * 1024
"""Default of the configurable bound above which a payload is refused."""

ATTEMPTS_FIRST = 3
ATTEMPTS_LAST = 20
"""Attempts of a step kept whole: the first 3 and the last 20; the count is always exact."""

ATTEMPT_LOG_RECORDS = 200
ATTEMPT_LOG_BYTES = 64 * 1024
"""Log records kept with one attempt; later ones are counted, not kept."""

ID_CHARS = 200
"""Longest run id; shorter ones keep indexes small."""

QUEUE_CHARS = 100
BUILD_CHARS = 100
"""Longest name of a queue."""

ATTRIBUTES = 50
ATTRIBUTE_NAME_CHARS = 64
ATTRIBUTE_CHARS = 500
ATTRIBUTE_TEXTS = 50
ATTRIBUTES_BYTES = 32 * 1024
"""Searchable attributes of a run: how many, the length of a name and of a text, the texts of one list, and all together: a
row of an index for each value is written with the run."""

ATTRIBUTE_CONDITIONS = 200
"""Values and ranges that one search compares attributes with."""

MEMO_BYTES = 32 * 1024
"""A run's memo, and each change of it, as JSON."""

STREAMS = 100
STREAM_NAME_CHARS = 100
STREAM_CHUNK_BYTES = 1024 * 1024
STREAM_CHUNKS = 1_000_000
STREAM_BYTES = 256 * 1024 * 1024
"""Streams of a run: how many, the length of a name, one chunk, and the chunks and bytes of one stream. What a workflow itself
has written is bounded by itself, so that replay does not depend on what its activities write meanwhile."""

STREAM_ROW_BYTES = 256 * 1024
"""Chunks that are kept in one row of a store; a larger one has a row to itself."""

STREAM_PAGE_BYTES = 1024 * 1024
"""What whoever follows a stream reads at a time, unless one row has more."""

STREAM_UNSTORED_BYTES = 1024 * 1024
STREAM_UNSTORED_MOST_BYTES = 16 * 1024 * 1024
STREAM_CHUNK_COSTS_BYTES = 64
"""Bytes that an attempt has written and nobody has stored yet: from the first on a write waits, if it is awaited or made in a
thread; from the second on it is refused. Each chunk counts as so much more than its value."""

PUBLISHED_NAMES = 100
"""Names under which one run publishes values."""

REQUESTS_CARRIED = 1_000
"""Request ids of signals, the latest, that a run hands on to the one it goes on as: sent again, they are not taken again."""

FAILURE_MESSAGE_CHARS = 4_000
TRACEBACK_CHARS = 16_000
FAILURE_CAUSES = 10
FAILURE_LEAVES = 20
"""Of an exception: its message, its formatted traceback, and how many causes, and leaves of a group, are kept."""

NOTE_CHARS = 200
"""The one line a list shows for a run: what it does now, or how it ended."""

STRIKES = 3
"""A run that was in its turn when the process died this many times is quarantined."""

END_OF_TIME = 2**63 - 1
"""The latest due time of a timer or a retry, in nanoseconds since the epoch (the year 2262): what 64 bits hold."""

TASK_REMINDERS = 1_000
"""So often people are reminded of one human task; its history grows with each time."""

TASK_TITLE_CHARS = 200
TASK_ASSIGNEES = 50
TASK_PERSON_CHARS = 200
TASK_FORM_BYTES = 32 * 1024
TASK_DATA_BYTES = 256 * 1024
"""A human task: its title, how many people and groups it is for, the name of one of them, the JSON schema of its form, and
what people are shown with it, as JSON."""

PENDING_COMMANDS = 200_000
"""Unresolved steps, timers, human tasks and children of one run; a program asking for more is blocked."""

CHILD_DEPTH = 100
"""Ancestors that a run may have; a child beyond is not started."""

CONTINUE_SUGGESTED_EVENTS = 4_096
"""Events of a history from which on a workflow is told to continue as new (Temporal's number)."""
