# SPDX-License-Identifier: Apache-2.0
"""The application: routes, the OpenAPI document, and errors as problem details."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from innkeeper import __version__
from innkeeper.api.models import Problem
from innkeeper.api.problems import MEDIA_TYPE, TYPE_PREFIX, problem_json, problem_of
from innkeeper.errors import InnkeeperError
from innkeeper.hypervisor.http import activity, files, networks, snapshots, streams, transfer, vms
from innkeeper.hypervisor.http.guards import BodyLimit
from innkeeper.hypervisor.hypervisor import Hypervisor

_PROBLEM: dict[str, Any] = {
    "description": "A problem.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def make_app(hypervisor: Hypervisor | None, stop: Callable[[], None]) -> FastAPI:
    """The API of `hypervisor`; None makes one that is good for its OpenAPI document alone.

    `stop` is called when a client asks for the end.
    """
    app = FastAPI(
        title="Innkeeper",
        version=__version__,
        summary="The hypervisor's API.",
        description="Consoles, commands and event streams are WebSockets; see docs/hypervisor.md.",
        responses={"default": _PROBLEM, 422: _PROBLEM},
        generate_unique_id_function=_route_name,
        redoc_url=None,
        docs_url=None,
    )
    app.state.hypervisor = hypervisor
    app.state.stop = stop
    for part in (vms, networks, files, snapshots, transfer, activity, streams):
        app.include_router(part.router)
    app.add_exception_handler(InnkeeperError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_wrong_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_defect)
    app.add_middleware(BodyLimit)
    return app


def _route_name(route: APIRoute) -> str:
    return route.name


def _answer(problem: Problem) -> JSONResponse:
    return JSONResponse(problem_json(problem), status_code=problem.status, media_type=MEDIA_TYPE)


async def _on_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, InnkeeperError):
        raise error
    return _answer(problem_of(error))


async def _on_wrong_request(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    parts = [
        f"{'.'.join(str(part) for part in item['loc'][1:]) or 'the body'}: {item['msg']}"
        for item in error.errors()[:5]
    ]
    return _answer(
        Problem(
            type=TYPE_PREFIX + "wrong-request",
            title="The request is wrong",
            status=422,
            detail="; ".join(parts)[:2000],
            remedy="see /openapi.json",
        )
    )


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    answer = _answer(Problem(type="about:blank", title=str(error.detail), status=error.status_code))
    answer.headers.update(error.headers or {})
    return answer


async def _on_defect(request: Request, error: Exception) -> JSONResponse:
    traceback.print_exception(error, file=sys.stderr)
    detail = f"unexpected {type(error).__name__}; the hypervisor's log has the traceback to report"
    return _answer(Problem(type="about:blank", title="Defect of Innkeeper", status=500, detail=detail))
