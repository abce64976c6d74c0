"""The materialized views of deploy/fleet/clickhouse.sql, carried out on real lines: Debian has no ClickHouse that knows
their functions. What is evaluated is the little SQL that stands there; anything else is an error.

  statement = CREATE MATERIALIZED VIEW name TO table AS select
  select    = SELECT item {, item} FROM (table | "(" select ")") [WHERE expression [= expression]]
  item      = expression [AS name]        expression = 'text' | number | name | function "(" expressions ")"
"""
import datetime
import json
import re

TOKEN = re.compile(r"\s*(?:('[^']*')|(\d+)|(`\w+`|[\w.]+)|([(),=;]))")


class Value:
    """A piece of JSON text: what it holds and where it stands in its document, "targets[].gaps[].at"."""

    def __init__(self, held, where):
        self.held, self.where = held, where


def tables_of(sql):
    """Table to {column: type}."""
    found = {}
    for name, columns in re.findall(r"CREATE TABLE ctriage\.(\w+) \(\n(.*?)\n\) ENGINE", sql, re.S):
        found[name] = {c.strip("`"): t.rstrip(",") for c, t in (line.split(None, 1) for line in columns.splitlines())}
        for column, kind in found[name].items():
            found[name][column] = re.sub(r" DEFAULT .*", "", kind)
    return found


class Views:
    def __init__(self, sql):
        self.tables = tables_of(sql)
        self.views = []
        self.touched = set()  # places in documents that a column is made of
        for statement in re.sub(r"--.*", "", sql).split(";"):
            head = re.match(r"\s*CREATE MATERIALIZED VIEW ctriage\.\w+ TO ctriage\.(\w+) AS\s", statement)
            if head:
                self.tokens = [m.group(m.lastindex) for m in TOKEN.finditer(statement[head.end():])]
                if "".join(self.tokens) != re.sub(r"\s", "", statement[head.end():]):
                    raise ValueError("not all of it was understood: " + statement)
                self.views.append((head.group(1), self.select()))

    def rows(self, lines):
        """Table to its rows, each column's value checked against its type."""
        found = {name: [] for name in self.tables}
        for table, view in self.views:
            for line in lines:
                for row in view({"line": Value(json.loads(line), "")}):
                    found[table].append({c: self.fit(table, c, v) for c, v in row.items()})
        return found

    def fit(self, table, column, value):
        kind = self.tables[table][column]
        plain = re.sub(r"^(?:Nullable|LowCardinality)\((.*)\)$", r"\1", kind)
        if plain != kind and kind.startswith("Nullable") and value is None:
            return None
        if plain.startswith("Enum8"):
            good = isinstance(value, str) and f"'{value}' =" in plain
        elif plain.startswith("Array"):
            good = isinstance(value, list) and all(isinstance(v, str) for v in value)
        else:
            name = plain.partition("(")[0]
            good = {"String": lambda: isinstance(value, str), "Bool": lambda: isinstance(value, bool),
                    "UInt64": lambda: type(value) is int and 0 <= value < 2**64,
                    "DateTime64": lambda: isinstance(value, datetime.datetime)}[name]()
        if not good:
            raise ValueError(f"{table}.{column}: {value!r} is no {kind}")
        return value

    # The parser gives functions of a row ------------------------------------------------------------------------------

    def take(self, *wanted):
        if wanted and self.tokens[0] not in wanted:
            raise ValueError(f"{wanted} expected, not {self.tokens[:8]}")
        return self.tokens.pop(0)

    def select(self):
        self.take("SELECT")
        items = [self.item()]
        while self.tokens[0] == ",":
            self.take()
            items.append(self.item())
        self.take("FROM")
        if self.tokens[0] == "(":
            self.take()
            source = self.select()
            self.take(")")
        else:
            self.take("ctriage.lines")
            source = lambda row: [row]  # noqa: E731
        where = None
        if self.tokens and self.tokens[0] == "WHERE":
            self.take()
            where = self.expression()
            if self.tokens and self.tokens[0] == "=":
                self.take()
                left, right = where, self.expression()
                where = lambda row: left(row) == right(row)  # noqa: E731

        def run(row):
            for one in source(row):
                if where is None or where(one):
                    yield from self.joined(items, one)

        return run

    def joined(self, items, row):
        made = {name: expression(row) for name, expression in items}
        (many,) = [n for n, v in made.items() if isinstance(v, list) and v and isinstance(v[0], Value)] or [None]
        empty = [n for n, v in made.items() if isinstance(v, Joined) and not v]
        if many:
            for element in made[many]:
                yield {**made, many: element}
        elif not empty:
            yield made

    def item(self):
        first = self.tokens[0]
        expression = self.expression()
        if self.tokens[0] == "AS":
            self.take()
            first = self.take()
        return first.strip("`"), expression

    def expression(self):
        token = self.take()
        if token[0] == "'":
            return lambda row: token[1:-1]
        if token.isdigit():
            return lambda row: int(token)
        if not self.tokens or self.tokens[0] != "(":
            return lambda row: row[token]
        self.take("(")
        arguments = [self.expression()]
        while self.take(",", ")") == ",":
            arguments.append(self.expression())
        function = getattr(self, "do_" + token)
        return lambda row: function(*(a(row) for a in arguments))

    # ClickHouse's functions, stricter: a value of another type is an error, not a default ------------------------------

    def inner(self, value, keys):
        held, where = value.held, value.where
        for key in keys:
            if not isinstance(held, dict):
                raise ValueError(f"{where}: {key} of what is no object")
            held, where = held.get(key, {} if key != keys[-1] else None), f"{where}.{key}".lstrip(".")
        self.touched.add(where)
        return held, where

    def typed(self, value, keys, kind, default):
        held, where = self.inner(value, keys)
        if held is None:
            return default
        if type(held) is not kind:
            raise ValueError(f"{where}: {held!r} is no {kind.__name__}")
        return held

    def do_JSONExtractString(self, value, *keys):
        return self.typed(value, keys, str, "")

    def do_JSONExtractUInt(self, value, *keys):
        return self.typed(value, keys, int, 0)

    def do_JSONExtractBool(self, value, *keys):
        return self.typed(value, keys, bool, False)

    def do_JSONExtract(self, value, *keys):
        *keys, kind = keys
        if kind == "Array(String)":
            return list(self.typed(value, keys, list, []))
        if kind == "Nullable(UInt64)":
            return self.typed(value, keys, int, None)
        raise ValueError(kind)

    def do_JSONExtractArrayRaw(self, value, key):
        held, where = self.inner(value, [key])
        return Joined(Value(v, where + "[]") for v in held or [])

    def do_JSONHas(self, value, key):
        return key in value.held

    def do_arrayJoin(self, values):
        return values

    def do_parseDateTime64BestEffortOrNull(self, text, precision, zone):
        if precision != 9 or zone != "UTC":
            raise ValueError("times are nanoseconds in UTC")
        if not text:
            return None
        moment, nanoseconds = re.fullmatch(r"(.*T\d\d:\d\d:\d\d)\.(\d{9})Z", text).groups()
        return datetime.datetime.fromisoformat(moment + "." + nanoseconds[:6] + "+00:00")


class Joined(list):
    pass
