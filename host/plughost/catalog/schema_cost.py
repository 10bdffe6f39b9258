"""Where the schemas in a schema stand, what they refer to, and what a check may cost.

The cost is the number of schemas applied to one place of a value. A schema applies others to
the same value (`allOf`, `$ref`, ...) and to its children (`properties`, `items`, ...). First
the schemas applied to the same value are counted with their multiplicity; a cycle there would
never end, and is refused. `unevaluated*` asks all of them a second time, and is counted so.
Then the children: for every property name or array position the schemas that meet there are
added up, and the most expensive position stands for all. Repeating this for as many levels as
a value may have gives the cost at every depth. A list or a tree applies itself once per child
and stays flat; a schema that reaches itself twice on one child doubles with every level, passes
the limit and is refused. The count is an upper bound, for any value.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from plughost.catalog.schema_limits import SchemaLimits, SchemaRefused

Pointer = tuple[str, ...]
Node = dict[str, Any]

_REFERENCES = {"$ref", "$dynamicRef", "$recursiveRef"}
_ANCHORS = ("$anchor", "$dynamicAnchor")
_SAME_VALUE = {"allOf", "anyOf", "oneOf", "not", "if", "then", "else"}
_SAME_VALUE |= {"dependentSchemas", "dependencies"}
_CHILDREN = {"properties", "patternProperties", "additionalProperties", "unevaluatedProperties"}
_CHILDREN |= {"items", "prefixItems", "additionalItems", "unevaluatedItems", "contains"}
_CHILDREN |= {"propertyNames"}
_KEYWORDS = _SAME_VALUE | _CHILDREN | {"$defs", "definitions", "contentSchema"}
_MAPS = {"properties", "patternProperties", "dependentSchemas", "dependencies"}
_MAPS |= {"$defs", "definitions"}
_COMPARED = ("enum", "const", "required", "type", "dependentRequired", "dependencies")
_MAX_APPLICATIONS = 20_000  # pairs of a schema and one it applies, which the count walks


def subschemas(schema: object) -> Iterator[tuple[Pointer, Node]]:
    """Every object in the schema that is a schema itself, outermost first, with its place."""
    return ((at, node) for at, node in _places(schema) if isinstance(node, dict))


def _places(schema: object, at: Pointer = ()) -> Iterator[tuple[Pointer, Node | bool]]:
    if isinstance(schema, bool):
        yield at, schema
    if not isinstance(schema, dict):
        return
    yield at, schema
    for keyword in _KEYWORDS & schema.keys():
        held = schema[keyword]
        where = (*at, keyword)
        if keyword in _MAPS:
            if isinstance(held, dict):
                for name, sub in held.items():
                    yield from _places(sub, (*where, name))
        elif isinstance(held, list):
            for index, sub in enumerate(held):
                yield from _places(sub, (*where, str(index)))
        else:
            yield from _places(held, where)


def pointer_text(at: Pointer) -> str:
    """The place as a JSON pointer."""
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in at)


@dataclass(slots=True)
class _Rule:
    """What one schema object applies where; `patterns` and `other` exclude each other."""

    at: Pointer
    own: int = 1
    same: list[int] = field(default_factory=list)
    named: dict[str, list[int]] = field(default_factory=dict)
    patterns: list[int] = field(default_factory=list)
    other: list[int] = field(default_factory=list)
    every: list[int] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    prefix: list[list[int]] = field(default_factory=list)
    rest: list[int] = field(default_factory=list)
    each: list[int] = field(default_factory=list)
    asks_again: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """The most schemas applied to the root of a value, and to any one place below it."""

    root: int
    below: int


def measure(schema: Node, limits: SchemaLimits) -> Cost:
    """What a check may cost.

    Raises SchemaRefused if that is too much, or if a reference leaves the schema or leads nowhere.
    """
    return _Measure(schema, limits).cost()


class _Measure:
    def __init__(self, schema: Node, limits: SchemaLimits) -> None:
        self._limits = limits
        places = list(subschemas(schema))
        self._booleans = {at for at, held in _places(schema) if isinstance(held, bool)}
        self._index = {id(node): number for number, (_, node) in enumerate(places)}
        self._at = {at: number for number, (at, _) in enumerate(places)}
        self._anchors: dict[str, int] = {}
        for at, node in places:
            self._note_names(at, node)
        self._rules = [self._rule(at, node) for at, node in places]
        self._applied: dict[int, tuple[Counter[int], Counter[int], int]] = {}

    def cost(self) -> Cost:
        heads: dict[int, Counter[int]] = {}
        waiting, total = [0], 0
        while waiting:
            head = waiting.pop()
            if head in heads:
                continue
            heads[head] = applied = self._apply(head, ())[0]
            total += len(applied)
            if total > _MAX_APPLICATIONS:
                self._refuse_cost(head)
            for number in applied:
                waiting.extend(_children(self._rules[number]))
        level = {h: sum(n * self._rules[r].own for r, n in c.items()) for h, c in heads.items()}
        root, below = level[0], 0
        for _ in range(self._limits.max_value_depth):
            dearest = max(level, key=level.__getitem__)
            if level[dearest] > self._limits.max_cost:
                self._refuse_cost(dearest)
            following = {h: self._dearest_child(c, level) for h, c in heads.items()}
            below = max(below, following[0])
            if following == level or not any(following.values()):
                break
            level = following
        return Cost(root, below)

    def _note_names(self, at: Pointer, node: Node) -> None:
        if at and ("$id" in node or "$schema" in node):
            keyword = "$id" if "$id" in node else "$schema"
            raise SchemaRefused(
                pointer_text((*at, keyword)),
                f"{keyword!r} below the root starts another document",
                f"remove it, and refer to the schema with '#{pointer_text(at)}'",
            )
        for anchor in (node[keyword] for keyword in _ANCHORS if keyword in node):
            if (
                self._anchors.setdefault(str(anchor), self._index[id(node)])
                != self._index[id(node)]
            ):
                raise SchemaRefused(
                    pointer_text(at), f"the anchor {anchor!r} stands twice", "rename one of them"
                )

    def _rule(self, at: Pointer, node: Node) -> _Rule:
        rule = _Rule(at, own=len(node))
        rule.asks_again = "unevaluatedProperties" in node or "unevaluatedItems" in node
        for keyword in _COMPARED:
            rule.own += _size(node.get(keyword))
        for keyword in _SAME_VALUE & node.keys():
            rule.same += self._numbers(node[keyword], in_map=keyword in _MAPS)
        for keyword in _REFERENCES & node.keys():
            rule.same += self._target(at, keyword, node)
        properties = node.get("properties")
        if isinstance(properties, dict):
            rule.named = {name: self._numbers(sub) for name, sub in properties.items()}
        rule.patterns = self._numbers(node.get("patternProperties"), in_map=True)
        rule.other = self._numbers(node.get("additionalProperties"))
        rule.every = self._numbers(node.get("unevaluatedProperties"))
        rule.keys = self._numbers(node.get("propertyNames"))
        items = node.get("items")
        fixed = items if isinstance(items, list) else node.get("prefixItems")
        rule.prefix = [self._numbers(sub) for sub in fixed] if isinstance(fixed, list) else []
        rule.rest = self._numbers(None if isinstance(items, list) else items)
        rule.rest += self._numbers(node.get("additionalItems"))
        rule.each = self._numbers(node.get("contains")) + self._numbers(
            node.get("unevaluatedItems")
        )
        return rule

    def _numbers(self, held: object, *, in_map: bool = False) -> list[int]:
        if in_map:
            found = list(held.values()) if isinstance(held, dict) else []
        else:
            found = held if isinstance(held, list) else [held]
        return [self._index[id(sub)] for sub in found if id(sub) in self._index]

    def _target(self, at: Pointer, keyword: str, node: Node) -> list[int]:
        reference = str(node[keyword])
        where = pointer_text((*at, keyword))
        if not reference.startswith("#"):
            raise SchemaRefused(
                where,
                f"{reference[:80]!r} refers outside the schema",
                "copy what it refers to into '$defs' and refer to it with '#/$defs/...'",
            )
        fragment = unquote(reference[1:])
        if fragment and not fragment.startswith("/"):
            found = self._anchors.get(fragment)
        else:
            steps = (step.replace("~1", "/").replace("~0", "~") for step in fragment.split("/")[1:])
            target = tuple(steps)
            if target in self._booleans:
                return []
            found = self._at.get(target)
        if found is None:
            raise SchemaRefused(
                where,
                f"{reference[:80]!r} refers to no schema in the document",
                "put the schema into '$defs' and refer to it with '#/$defs/...'",
            )
        return [found]

    def _apply(self, number: int, under: tuple[int, ...]) -> tuple[Counter[int], Counter[int], int]:
        """Schemas met by a value, those met again by `unevaluated*`, and how deep they nest."""
        if number in self._applied:
            return self._applied[number]
        rule = self._rules[number]
        if number in under:
            raise SchemaRefused(
                pointer_text(rule.at),
                "the schema applies itself to the same value without end",
                "let the reference stand below 'properties' or 'items'",
            )
        met, again, deepest = Counter({number: 1}), Counter[int](), 0
        for sub in rule.same:
            sub_met, sub_again, depth = self._apply(sub, (*under, number))
            met.update(sub_met)
            again.update(sub_met)
            again.update(sub_again)
            deepest = max(deepest, depth)
        if rule.asks_again:
            met.update(again)
        if met.total() > self._limits.max_cost:
            self._refuse_cost(number)
        if deepest >= self._limits.max_chain or len(under) > self._limits.max_chain:
            raise SchemaRefused(
                pointer_text(rule.at),
                f"more than {self._limits.max_chain} schemas apply one another to the same value",
                "shorten the chain of references",
            )
        self._applied[number] = met, again, deepest + 1
        return self._applied[number]

    def _dearest_child(self, applied: Counter[int], level: dict[int, int]) -> int:
        """The cost of the most expensive child of a value that all these schemas are applied to."""
        elsewhere = beyond = keys = 0
        names: Counter[str] = Counter()
        places: Counter[int] = Counter()
        longest = max((len(self._rules[number].prefix) for number in applied), default=0)
        for number, times in applied.items():
            rule = self._rules[number]
            matched = _total(rule.patterns, level) + len(rule.patterns)
            every = _total(rule.every, level)
            usual = max(matched, _total(rule.other, level)) + every
            elsewhere += times * usual
            for name, subs in rule.named.items():
                names[name] += times * (_total(subs, level) + matched + every - usual)
            keys += times * _total(rule.keys, level)
            each = _total(rule.each, level)
            rest = _total(rule.rest, level)
            beyond += times * (rest + each)
            for place, subs in enumerate(rule.prefix):
                places[place] += times * (_total(subs, level) - rest)
        named = max(0, *names.values()) if names else 0
        placed = max(0, *places.values()) if longest else 0
        return max(elsewhere + named, beyond + placed) + keys

    def _refuse_cost(self, number: int) -> None:
        raise SchemaRefused(
            pointer_text(self._rules[number].at),
            f"checking one value could take more than {self._limits.max_cost} steps",
            "let each part of a value be described by one schema, and a recursive schema "
            "refer to itself once for each child",
        )


def _children(rule: _Rule) -> Iterator[int]:
    for subs in (*rule.named.values(), *rule.prefix):
        yield from subs
    for subs in (rule.patterns, rule.other, rule.every, rule.keys, rule.rest, rule.each):
        yield from subs


def _total(numbers: list[int], level: dict[int, int]) -> int:
    return sum(level[number] for number in numbers)


def _size(held: object) -> int:
    if isinstance(held, dict):
        return 1 + sum(_size(sub) for sub in held.values())
    if isinstance(held, list):
        return 1 + sum(_size(sub) for sub in held)
    return 1 if held is not None else 0
