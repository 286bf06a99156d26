-- Searchable attributes of runs. Kinds of values have the numbers of the kernel's enum; a list has a row for each of its
-- texts, and `item` counts them. The column of the value has no type: it holds texts, whole numbers and floats as they are.
CREATE TABLE attributes (
    run   INTEGER NOT NULL,
    name  TEXT    NOT NULL,
    item  INTEGER NOT NULL,
    kind  INTEGER NOT NULL,
    value         NOT NULL,
    PRIMARY KEY (run, name, item)
) WITHOUT ROWID;

CREATE INDEX attributes_by_value ON attributes (name, kind, value);
