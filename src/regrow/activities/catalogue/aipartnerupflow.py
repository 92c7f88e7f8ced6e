"""The executors of aipartnerupflow, by their ids, input names and results.

A document that was written for that system runs as it is: each id here stands for an executor of
Regrow, whose safety it has. Two things differ. What fails, fails its task, where that system
completed it with `success: false`; and what only an operator may say (a mail server, mounts of a
container, a key file) is refused in a document.
"""

import json
import shlex
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, cast
from urllib.parse import urlencode

from regrow.activities.catalogue.command import command
from regrow.activities.catalogue.docker import docker_run
from regrow.activities.catalogue.email import send_email
from regrow.activities.catalogue.grpc import grpc_call
from regrow.activities.catalogue.http import http_request
from regrow.activities.catalogue.llm import llm_chat
from regrow.activities.catalogue.mcp import mcp_call
from regrow.activities.catalogue.ssh import ssh_command
from regrow.activities.catalogue.system import system_info
from regrow.activities.catalogue.websocket import websocket_send
from regrow.core.wire import ErrorType
from regrow.executors import ALIAS, Executor, Registry, TaskContext, TaskError, executor_register

Inputs = dict[str, Any]

_OURS: Final = Registry(
    http_request,
    command,
    system_info,
    ssh_command,
    docker_run,
    grpc_call,
    websocket_send,
    mcp_call,
    llm_chat,
    send_email,
)
_SHELL: Final = frozenset("|&;<>()")
_GIB: Final = 1024**3


def _alias(name: str, of: str) -> Callable[..., Any]:
    ours = _OURS[of]
    return executor_register(
        name,
        heartbeat_timeout="30s",
        tags=(ALIAS, *ours.tags),
        requires=ours.requires,
        demo={"success": True, "demo": True},
    )


@_alias("rest_executor", "http_request")
async def rest_executor(inputs: Inputs, context: TaskContext) -> Inputs:
    """`http_request`, with `data` as a form, `auth` by its `type`, and `json` in the result."""
    given = _taken(inputs, "url", "method", "params", "timeout", "verify", "follow_redirects")
    headers, params = dict(inputs.get("headers") or {}), dict(given.pop("params", None) or {})
    _authorise(inputs.get("auth") or {}, given, headers, params)
    if inputs.get("json") is not None:
        given["json"] = inputs["json"]
    elif inputs.get("data") is not None:
        given["body"] = _form(inputs["data"], headers)
    answer = await _call("http_request", {**given, "headers": headers, "params": params}, context)
    is_json = answer.encoding == "json"
    return {
        "success": True,
        "url": answer.url,
        "method": str(inputs.get("method", "GET")).upper(),
        "status_code": answer.status_code,
        "headers": answer.headers,
        "body": json.dumps(answer.body) if is_json else answer.body,
        "json": answer.body if is_json else None,
    }


def _authorise(auth: Inputs, given: Inputs, headers: Inputs, params: Inputs) -> None:
    match str(auth.get("type", "")).lower():
        case "bearer":
            given["auth"] = {"bearer": auth.get("token")}
        case "basic":
            given["auth"] = _taken(auth, "username", "password")
        case "apikey":
            where = params if auth.get("location") == "query" else headers
            where[str(auth.get("key"))] = auth.get("value")
        case _:
            pass


def _form(data: object, headers: Inputs) -> str:
    if not isinstance(data, Mapping):
        return str(data)
    headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
    return urlencode(cast("Mapping[str, Any]", data), doseq=True)


@_alias("command_executor", "command")
async def command_executor(inputs: Inputs, context: TaskContext) -> Inputs:
    """`command`, with the command line as one text. No shell reads it: `|`, `>` and `;` fail."""
    line = str(inputs.get("command") or "")
    given = {"argv": _words(line), "timeout": inputs.get("timeout", 30)}
    answer = await _call("command", given, context)
    return {
        "success": True,
        "command": line,
        "return_code": answer.exit_code,
        "stdout": answer.stdout.strip(),
        "stderr": answer.stderr.strip(),
    }


def _words(line: str) -> list[str]:
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
        lexer.whitespace_split = True
        words = list(lexer)
    except ValueError as error:
        raise _refused(f"the command cannot be read: {error}") from None
    if any(_SHELL.issuperset(word) for word in words):
        raise _refused(
            "no shell reads the command, so it cannot have '|', '&', ';', '<', '>' or parentheses;"
            " put it into a script, and let the operator list that in REGROW_COMMAND_ALLOW"
        )
    return words


@executor_register("aggregate_results_executor", tags=(ALIAS,), demo={"results": {}})
def aggregate_results_executor(inputs: Inputs) -> Inputs:
    """Gather the results of the dependencies; `aggregate_results` does so without a worker."""
    return {
        "summary": "Task Results Aggregation",
        "timestamp": datetime.now(UTC).isoformat(),
        "results": inputs,
        "result_count": len(inputs),
    }


@_alias("system_info_executor", "system_info")
def system_info_executor(inputs: Inputs, context: TaskContext) -> Inputs:
    """`system_info`, of one `resource` (cpu, memory, disk) or `all`."""
    resource = inputs.get("resource", "all")
    kinds = ["cpu", "memory", "disk"] if resource == "all" else [resource]
    given: Any = {"kinds": [*kinds, "platform"]}
    found = _ours("system_info").call(given, context).model_dump(mode="json")
    about = {"system": found["platform"]["system"]}
    told = {kind: {**found[kind], **about, **_as_there(kind, found[kind])} for kind in kinds}
    return told if resource == "all" else told[resource]


def _as_there(kind: str, found: Inputs) -> Inputs:
    """Give the names that tree authors know beside ours."""
    if kind == "cpu":
        return {"cores": found["logical"]}
    return {"total_gb": round(found["total"] / _GIB, 2)}


@_alias("ssh_executor", "ssh_command")
async def ssh_executor(inputs: Inputs, context: TaskContext) -> Inputs:
    """`ssh_command`; a `key_file` is refused: its operator lists keys in `REGROW_SSH_KEYS`."""
    _refuse(inputs, "key_file", "keys are the operator's to list, in REGROW_SSH_KEYS")
    given = _taken(inputs, "host", "port", "username", "password", "command", "env")
    answer = await _call("ssh_command", {**given, "timeout": inputs.get("timeout", 30)}, context)
    return {
        "success": True,
        "host": inputs.get("host"),
        "username": inputs.get("username"),
        "command": inputs.get("command"),
        "return_code": answer.exit_code,
        "stdout": answer.stdout,
        "stderr": answer.stderr,
    }


@_alias("docker_executor", "docker_run")
async def docker_executor(inputs: Inputs, context: TaskContext) -> Inputs:
    """`docker_run`, with a file system that can be written to; `volumes` are refused."""
    _refuse(inputs, "volumes", "a container has no mounts")
    line: Any = inputs.get("command") or []
    limits = cast("Inputs", inputs.get("resources") or {})
    given = _taken(inputs, "image", "env")
    given |= {"command": shlex.split(line) if isinstance(line, str) else line, "read_only": False}
    given |= {"timeout": inputs.get("timeout", 60)}
    given |= {"workdir": inputs["working_dir"]} if inputs.get("working_dir") else {}
    given |= {"memory": limits["memory"]} if limits.get("memory") else {}
    given |= {"cpus": float(limits["cpu"])} if limits.get("cpu") else {}
    answer = await _call("docker_run", given, context)
    return {
        "success": True,
        "image": inputs.get("image"),
        "command": line,
        "exit_code": answer.exit_code,
        "logs": answer.stdout + answer.stderr,
    }


@_alias("grpc_executor", "grpc_call")
async def grpc_executor(inputs: Inputs, context: TaskContext) -> Inputs:
    """`grpc_call` without TLS; the types come from the server's reflection, not `proto_file`."""
    service, method = str(inputs.get("service", "")), str(inputs.get("method", ""))
    given = {
        **_taken(inputs, "request", "metadata", "timeout"),
        "target": inputs.get("server"),
        "method": f"{service}/{method}",
        "plaintext": True,
    }
    answer = await _call("grpc_call", given, context)
    told = _taken(inputs, "server", "service", "method", "request")
    return {"success": True, **told, "response": answer.response, "metadata": {}}


@_alias("websocket_executor", "websocket_send")
async def websocket_executor(inputs: Inputs, context: TaskContext) -> Inputs:
    """`websocket_send` of one `message`; waits for one answer unless `wait_response` is false."""
    message, waits = inputs.get("message"), bool(inputs.get("wait_response", True))
    given = _taken(inputs, "url", "headers", "timeout")
    given["text" if isinstance(message, str) else "json"] = message
    given |= {"expect": int(waits), "json_answers": True}
    answer = await _call("websocket_send", given, context)
    return {
        "success": True,
        "url": inputs.get("url"),
        "message_sent": message if isinstance(message, str) else json.dumps(message),
        "wait_response": waits,
        "response": answer.answers[0].body if answer.answers else None,
    }


@_alias("mcp_executor", "mcp_call")
async def mcp_executor(inputs: Inputs, context: TaskContext) -> Inputs:
    """`mcp_call`, with `tool_name` and `resource_uri`; `transport` follows from the server."""
    _refuse(inputs, "cwd", "a server is started in the worker's directory")
    operation = inputs.get("operation")
    given = _taken(inputs, "command", "env", "url", "headers", "arguments", "timeout")
    given |= {"operation": operation}
    given |= {"tool": inputs["tool_name"]} if inputs.get("tool_name") else {}
    given |= {"uri": inputs["resource_uri"]} if inputs.get("resource_uri") else {}
    answer = await _call("mcp_call", given, context)
    listed = {"list_tools": "tools", "list_resources": "resources"}.get(str(operation))
    result: Inputs = {"content": answer.content}
    if listed:
        result = {listed: answer.items}
    elif answer.structured is not None:
        result["structuredContent"] = answer.structured
    told = _taken(inputs, "operation", "transport")
    return {"success": True, **told, "result": result}


@_alias("llm_executor", "llm_chat")
async def llm_executor(inputs: Inputs, context: TaskContext) -> Inputs:
    """`llm_chat`, with `messages`; models are named as there (`gpt-4o`, `anthropic/claude-…`)."""
    model = str(inputs.get("model", ""))
    given = _taken(inputs, "messages", "api_key", "temperature", "max_tokens")
    given |= {"model": _model(model)}
    given |= {"base_url": inputs["api_base"]} if inputs.get("api_base") else {}
    answer = await _call("llm_chat", given, context)
    usage = None if answer.usage is None else answer.usage.model_dump()
    data = {"model": answer.result.model, "usage": usage}
    text = answer.result.text
    return {"success": True, "model": model, "content": text, "data": data, "is_stream": False}


def _model(name: str) -> str:
    """Name the provider as `llm_chat` does; a bare name tells by how it begins."""
    provider, slash, rest = name.partition("/")
    if slash:
        return f"{provider}:{rest}"
    return f"anthropic:{name}" if name.startswith("claude") else f"openai:{name}"


@_alias("send_email_executor", "send_email")
async def send_email_executor(inputs: Inputs, context: TaskContext) -> Inputs:
    """`send_email`, with `body` and `from_email`; the mail server is the operator's."""
    if inputs.get("provider") not in (None, "smtp"):
        raise _refused(f"provider '{inputs['provider']}' isn't there; mail goes by REGROW_SMTP_URL")
    for name in ("smtp_host", "smtp_port", "smtp_username", "smtp_password", "api_key"):
        _refuse(inputs, name, "the mail server is the operator's, by REGROW_SMTP_URL")
    given = _taken(inputs, "to", "cc", "bcc", "subject", "html", "reply_to", "timeout")
    given |= {"text": inputs["body"]} if inputs.get("body") else {}
    given |= {"from": inputs["from_email"]} if inputs.get("from_email") else {}
    answer = await _call("send_email", given, context)
    refused = [each.address for each in answer.refused]
    told = {"accepted_recipients": answer.accepted, "refused_recipients": refused}
    return {"success": True, "provider": "smtp", "message": answer.receipt, **told}


async def _call(name: str, inputs: Inputs, context: TaskContext) -> Any:
    return await _ours(name).call(inputs, context)


def _ours(name: str) -> Executor:
    return _OURS[name]


def _taken(inputs: Mapping[str, Any], *names: str) -> Inputs:
    """Take over what is given under the same name; null is the same as absent."""
    return {name: inputs[name] for name in names if inputs.get(name) is not None}


def _refuse(inputs: Inputs, name: str, why: str) -> None:
    if inputs.get(name):
        raise TaskError(f"'{name}' isn't a tree's to say: {why}", error_type=ErrorType.NOT_ALLOWED)


def _refused(message: str) -> TaskError:
    return TaskError(message, error_type=ErrorType.VALIDATION)
