"""What a tree's document looks like, as a JSON Schema for editors and for tools that write trees.

It says what `regrow.load` accepts, as far as a schema can: shapes, not whether a task exists. It
also takes the name of a file for a sub-tree, which the client reads, and refuses what only slips
through: unknown keys that are null, false for an empty list, numbers in quotes. And it refuses the
inputs of waits that would be accepted but fail.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from regrow.core import limits
from regrow.core.durations import Duration
from regrow.core.models import ID_PATTERN, TaskTree
from regrow.core.wire import APPROVAL, NATIVE_EXECUTORS, SLEEP, TREE, WAIT_FOR_EVENT

Schema = dict[str, Any]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_NUMBER: Final = r"[0-9]+(?:\.[0-9]+)?"
_COMPACT: Final = "".join(f"(?:{_NUMBER}{unit})?" for unit in ("d", "h", "m", "s", "ms"))
_ISO: Final = rf"P(?:[0-9]+W)?(?:[0-9]+D)?(?:T(?:[0-9]+H)?(?:[0-9]+M)?(?:{_NUMBER}S)?)?"
_MAX_SECONDS: Final = 10 * 366 * 24 * 3600
_NULL: Final[Schema] = {"type": "null"}
_EXECUTOR_KEYS: Final = ("executor", "executor_default", "schemas", "params", "tree")
_ID: Final[Schema] = {"type": "string", "pattern": ID_PATTERN}
_REFERENCE: Final[Schema] = {"$ref": "#/$defs/Reference"}
_DURATION_REF: Final = "#/$defs/Duration"
_NAMES_EXECUTOR: Final[Schema] = {"$ref": "#/$defs/NamesExecutor"}
_TASKS: Final[Schema] = {"type": "array", "items": {"$ref": "#/$defs/Task"}}

_DESCRIPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "TaskTree": {
        "version": "The version of the document's language.",
        "name": "What the tree is called; default: the file's name, else the first task's id.",
        "description": "What it is for.",
        "user_id": "For whom it runs: a label, and the key by which workers are shared fairly.",
        "max_in_flight": "How many tasks run at a time.",
        "on_failure": "At a failure: continue with what can still run, cancel the rest, or wait.",
        "defaults": "Timeouts and retries of all tasks; executors and tasks may say otherwise.",
        "tasks": "What is to be done, in any order: dependencies decide.",
    },
    "Task": {
        "id": "What others call it; default: the name.",
        "dependencies": "What it waits for; their results become its inputs.",
        "inputs": "What the executor is given; a value may hold references, `${{ … }}`.",
        "allow_failure": "Whether the tree may complete although this task fails.",
    },
    "Dependency": {
        "id": "The task that is waited for.",
        "required": "Whether its failure skips this task; an optional one is awaited all the same.",
    },
    "Compensation": {"executor": "What undoes it; waits, groups and sub-trees cannot."},
    "Policy": {
        "start_to_close_timeout": "How long one attempt may take.",
        "schedule_to_close_timeout": "How long all attempts may take together.",
        "schedule_to_start_timeout": "How long it may wait for a worker.",
        "heartbeat_timeout": "How long its worker may be silent until it is taken for dead.",
        "retry": "When a failed attempt is tried again; absent fields inherit.",
    },
    "RetryPolicy": {
        "initial_interval": "The time before the second attempt.",
        "backoff_coefficient": "By what that time grows with each attempt.",
        "maximum_interval": "The longest time between two attempts.",
    },
}
"""Of the fields whose names say enough in code; an attribute's docstring goes before these."""


def tree_schema(executors: Mapping[str, Schema] | None = None) -> Schema:
    """Give the JSON Schema (2020-12) of a tree's document in all its forms.

    `executors` are the JSON Schemas of executors' inputs, by id: a task's inputs are then checked
    too, but for what dependencies may bring, and a reference may stand for any value in them.
    """
    models = TaskTree.model_json_schema(schema_generator=_Generator)["$defs"]
    known = _known_inputs(executors or {})
    definitions = {name: _described(name, model) for name, model in models.items()}
    definitions["TaskTree"] = _tree(definitions["TaskTree"])
    definitions["Task"] = _task(definitions, known, [*NATIVE_EXECUTORS, *(executors or {})])
    definitions["Dependency"] = _dependency(definitions["Dependency"])
    definitions["Compensation"] = _compensation(definitions["Compensation"], known)
    return {
        "$schema": _DIALECT,
        "title": "A Regrow task tree",
        "$ref": "#/$defs/TaskTree",
        "$defs": {
            **definitions,
            "Duration": _duration(least="[1-9]", exclusiveMinimum=0),
            "WaitingTime": _duration(least="[0-9]", minimum=0),
            "NamesExecutor": {"anyOf": [_given(key) for key in _EXECUTOR_KEYS]},
            "Reference": _text(r"\$\{\{", "An expression that gives the value: `${{ … }}`."),
            **{_inputs_name(executor): inputs.keys for executor, inputs in known.items()},
        },
    }


class _Generator(GenerateJsonSchema):
    """Leaves out what tells a person nothing: titles made of names, and empty defaults."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        described = super().default_schema(schema)
        if not isinstance(described.get("default"), int) and not described.get("enum"):
            described.pop("default", None)
        return described

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return _nullable(self.generate_inner(schema["schema"]))


def _nullable(schema: Schema) -> Schema:
    """Let null, which is the same as absent, stand for the value too."""
    if schema.get("$ref") == _DURATION_REF:
        return schema
    if "$ref" in schema:
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return {**rest, "anyOf": [{"$ref": schema["$ref"]}, _NULL]}
    if "anyOf" in schema:
        options = [option for option in schema["anyOf"] if option != _NULL]
        return {**schema, "anyOf": [*options, _NULL]}
    if values := schema.get("enum") or ("const" in schema and [schema["const"]]):
        rest = {key: value for key, value in schema.items() if key not in ("const", "type")}
        return {**rest, "enum": [*values, None]}
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    return {**schema, "type": list(dict.fromkeys((*kinds, "null")))}


_UNPATTERNED: Final = TypeAdapter(Duration | None).json_schema(schema_generator=_Generator)


def _described(name: str, model: Schema) -> Schema:
    """Put in what the model's own schema cannot say: patterns of durations, missing words."""
    words = {**(_DESCRIPTIONS["Policy"] if name == "Task" else {}), **_DESCRIPTIONS.get(name, {})}
    properties = {
        key: {**({"description": words[key]} if key in words else {}), **_patterned(field)}
        for key, field in model.get("properties", {}).items()
    }
    return {**model, "properties": properties} if properties else model


def _patterned(field: Schema) -> Schema:
    if any(field.get(key) != value for key, value in _UNPATTERNED.items()):
        return field
    rest = {key: value for key, value in field.items() if key not in _UNPATTERNED}
    return {**rest, "$ref": _DURATION_REF}


def _text(pattern: str, description: str) -> Schema:
    return {"type": "string", "pattern": pattern, "description": description}


def _duration(least: str, **bounds: float) -> Schema:
    """Describe a duration; `least` must occur in one that is text."""
    return {
        "type": ["string", "number", "null"],
        "pattern": rf"^\s*(?:{_COMPACT}|{_ISO})\s*$",
        "allOf": [{"pattern": least}],
        **bounds,
        "maximum": _MAX_SECONDS,
        "examples": ["30s", "1m30s", "PT1M", 90],
    }


# --- inputs of executors


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What an executor says of its inputs."""

    keys: Schema
    """Each by itself; whether one is missing is told by the rest."""
    demands: Schema
    """What must hold of them together, once all are there."""
    native: bool = False
    """Whether no dependency brings it anything."""

    def of_task(self, executor: str) -> Iterator[Schema]:
        yield {"if": _runs(executor), "then": self._checked(executor, brought=not self.native)}

    def of_undoing(self, executor: str) -> Iterator[Schema]:
        if not self.native:
            then = self._checked(executor, brought=False)
            yield {"if": _field("executor", {"const": executor}), "then": then}

    def _checked(self, executor: str, *, brought: bool) -> Schema:
        keys = {"properties": {"inputs": {"$ref": f"#/$defs/{_inputs_name(executor)}"}}}
        if not self.demands:
            return keys
        whole = _field("inputs", {"type": "object", **self.demands})
        depends = _field("dependencies", {"type": "array", "minItems": 1})
        return {**keys, "allOf": [{"if": depends, "else": whole} if brought else whole]}


def _runs(executor: str) -> Schema:
    """Tell whether a task runs an executor: it names it, or names none and is called so.

    In the seed's form a name that could be an id goes before the id, so such a task is left alone.
    """
    title = {"anyOf": [{"const": executor}, {"not": _ID}]}
    by_id = {
        "required": ["id"],
        "properties": {"id": {"const": executor}, "name": title},
        "not": _NAMES_EXECUTOR,
    }
    return {
        "anyOf": [_field("executor", {"const": executor}), by_id],
        "not": _given("task_queue"),
    }


def _inputs_name(executor: str) -> str:
    return f"{executor}.inputs"


def _known_inputs(executors: Mapping[str, Schema]) -> dict[str, _Inputs]:
    read = {executor: _read_inputs(executor, schema) for executor, schema in executors.items()}
    return {**_waits(), **{executor: inputs for executor, inputs in read.items() if inputs}}


def _waits() -> dict[str, _Inputs]:
    """Describe what the workflow itself waits for."""
    length: Schema = {"$ref": "#/$defs/WaitingTime"}
    until = _text(r"(?:Z|[+-][0-9:.]+)$", "When it is over: a time with an offset.")
    sleep = {
        "duration": {"description": "How long it waits.", **length, "not": _NULL},
        "until": {**until, "examples": ["2030-01-31T08:00:00Z"]},
    }
    timeout = {"description": "How long it waits at most.", **length}
    approval = {
        "prompt": {"description": "What is asked.", "type": ["string", "null"], "minLength": 1},
        "timeout": timeout,
        "on_timeout": {
            "description": "How it ends when nobody answers in time.",
            "enum": ["fail", "approve", "reject", None],
        },
    }
    event = {"description": "The name of the event.", "type": "string", "minLength": 1}
    return {
        SLEEP: _native(sleep, minProperties=1, maxProperties=1),
        APPROVAL: _native(approval),
        WAIT_FOR_EVENT: _native({"event": event, "timeout": timeout}, required=["event"]),
    }


def _native(properties: Schema, **demands: Any) -> _Inputs:
    fields = {key: _or_reference(schema, "#") for key, schema in properties.items()}
    keys = {"type": ["object", "null"], "properties": fields, "additionalProperties": False}
    return _Inputs(keys, demands, native=True)


_KEYWORDS: Final = (
    "description",
    "properties",
    "patternProperties",
    "propertyNames",
    "additionalProperties",
    "$defs",
)
_OF_PARTS: Final = ("properties", "patternProperties", "prefixItems")
_OF_PART: Final = ("items", "additionalProperties")
_OF_THE_SAME: Final = ("$defs", "anyOf", "oneOf", "allOf")


def _read_inputs(executor: str, schema: Schema) -> _Inputs | None:
    """Read the schema of inputs; None if it says nothing of single keys, as a union doesn't."""
    moved = _moved(schema, f"#/$defs/{_inputs_name(executor)}")
    target = schema.get("$ref", "").removeprefix("#/$defs/")
    root = {**moved, **moved.get("$defs", {}).get(target, {})}
    keys = {keyword: root[keyword] for keyword in _KEYWORDS if keyword in root}
    if not {"properties", "additionalProperties"} & keys.keys():
        return None
    demands = {"required": root["required"]} if root.get("required") else {}
    return _Inputs({"type": ["object", "null"], **keys}, demands)


def _moved(schema: Schema, home: str) -> Schema:
    """Let references stand for values, and point to definitions where they are now.

    Of alternatives several may then fit, so `oneOf` becomes `anyOf`.
    """
    return {
        "anyOf" if keyword == "oneOf" else keyword: _moved_keyword(keyword, value, home)
        for keyword, value in schema.items()
        if keyword != "discriminator"
    }


def _moved_keyword(keyword: str, value: Any, home: str) -> Any:
    if keyword == "$ref":
        return f"{home}{value.removeprefix('#')}"
    if keyword in _OF_PART:
        return _or_reference(value, home)
    if keyword not in (*_OF_PARTS, *_OF_THE_SAME):
        return value
    move = _moved if keyword in _OF_THE_SAME else _or_reference
    if isinstance(value, dict):
        return {key: move(part, home) for key, part in cast("Schema", value).items()}
    return [move(part, home) for part in value]


def _or_reference(schema: Any, home: str) -> Any:
    if not isinstance(schema, dict):
        return schema  # true and false are schemas too
    moved = _moved(cast("Schema", schema), home)
    about = {"description": moved.pop("description")} if "description" in moved else {}
    return {**about, "anyOf": [moved, _REFERENCE]}


# --- the parts of a document: at the top of a tree and of a task, null is the same as absent


def _tree(model: Schema) -> Schema:
    """Describe both forms in one: what is said of mappings doesn't concern lists."""
    properties = {key: _nullable(field) for key, field in model["properties"].items()}
    properties["tasks"] = {**model["properties"]["tasks"], "minItems": 1}
    properties["user_id"]["maxLength"] = limits.MAX_USER_ID_BYTES
    return {
        "description": "A document of tasks: a mapping, or a bare list of the tasks alone.",
        "type": ["object", "array"],
        "properties": properties,
        "required": ["tasks"],
        "additionalProperties": False,
        "items": _TASKS["items"],
        "minItems": 1,
    }


def _task(definitions: Schema, known: Mapping[str, _Inputs], executors: list[str]) -> Schema:
    model = definitions["Task"]
    fields = {**model["properties"], **_written_fields(model, definitions["TaskTree"])}
    properties = {key: _nullable(field) for key, field in fields.items()}
    properties["executor"]["examples"] = executors
    named = {"required": ["name"], "properties": {"name": _ID}}
    return {
        "description": model["description"],
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "anyOf": [_given("id"), named],
        "allOf": [*_task_rules(), *(rule for name in known for rule in known[name].of_task(name))],
    }


def _written_fields(model: Schema, tree: Schema) -> Schema:
    """Give the fields that are read before the model is made, or into something else."""
    said = {key: field.get("description") for key, field in model["properties"].items()}
    return {
        "when": {"description": said["when"], "type": ["string", "boolean"], "minLength": 1},
        "tolerate": {
            "description": said["tolerate"],
            "type": ["integer", "string"],
            "minimum": 0,
            "pattern": r"^\s*(?:0?[0-9]{1,2}(?:\.[0-9]+)?|100(?:\.0+)?)%\s*$",
            "examples": [3, "10%"],
        },
        "dependencies": {**model["properties"]["dependencies"], "uniqueItems": True},
        "tree": {
            "description": said["tree"],
            "anyOf": [
                {"$ref": "#/$defs/TaskTree"},
                {
                    "description": "A file, relative to the directory of this one.",
                    "type": "string",
                    "minLength": 1,
                },
            ],
        },
        "children": {"description": "Tasks that have this one as their parent.", **_TASKS},
        "user_id": tree["properties"]["user_id"],
        "schemas": {"description": "The seed's: `method` names the executor.", "type": "object"},
        "params": {"description": "The seed's: `executor_id` names it.", "type": "object"},
    }


def _dependency(model: Schema) -> Schema:
    """Describe an edge: the task's id alone, or a mapping that has its id or its name."""
    properties = model["properties"]
    by_id = {"required": ["id"], "properties": {"id": {"type": "string"}, "name": False}}
    by_name = {"required": ["name"], "properties": {"id": _NULL}}
    return {
        "description": model["description"],
        "type": ["object", "string"],
        "pattern": ID_PATTERN,
        "properties": {
            **properties,
            "id": _nullable(properties["id"]),
            "name": {"description": "The task's name, instead of its id.", "type": "string"},
        },
        "additionalProperties": False,
        "anyOf": [by_id, by_name],
    }


def _compensation(model: Schema, known: Mapping[str, _Inputs]) -> Schema:
    executor = {**model["properties"]["executor"], "not": {"enum": [*NATIVE_EXECUTORS]}}
    rules = [rule for name, inputs in known.items() for rule in inputs.of_undoing(name)]
    properties = {**model["properties"], "executor": executor}
    return {**model, "properties": properties, **({"allOf": rules} if rules else {})}


def _task_rules() -> Iterator[Schema]:
    """Say which fields of a task need, or refuse, each other."""
    of_a_map = {"anyOf": [_given("max_in_flight"), _given("tolerate")]}
    yield {"if": of_a_map, "then": _given("for_each")}
    no_map = _field("executor", {"enum": [name for name in NATIVE_EXECUTORS if name != TREE]})
    yield {"if": no_map, "then": {"properties": {"for_each": _NULL}}}
    yield {"if": _field("executor", {"const": TREE}), "then": _given("tree")}
    alone = {"properties": {"executor": {"enum": [TREE, None]}, "task_queue": _NULL}}
    yield {"if": _given("tree"), "then": alone}
    elsewhere = {"executor": {"not": {"enum": [*NATIVE_EXECUTORS]}}, "task_queue": _NULL}
    inside = {"properties": {**elsewhere, "tree": _NULL}}
    yield {"if": _field("local", {"const": True}), "then": inside}
    name = {"anyOf": [_ID, {"enum": ["", None]}]}
    seeds = {
        "schemas": {"properties": {"method": name}},
        "params": {"properties": {"executor_id": name}},
    }
    yield {"if": {"not": _given("executor")}, "then": {"properties": seeds}}


def _field(key: str, schema: Schema) -> Schema:
    return {"required": [key], "properties": {key: schema}}


def _given(key: str) -> Schema:
    return _field(key, {"not": _NULL})
