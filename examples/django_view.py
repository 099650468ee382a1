"""The views of a Django project, and the least of a project around them. Streaming needs WSGI."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator

import django
from django.conf import settings
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from runtimeuse_sync import (
    AssistantMessageInterface,
    Client,
    HeartbeatMessageInterface,
    InvocationMessage,
    InvocationTimeoutError,
    QueryOptions,
    RuntimeUseError,
    TextResult,
)

client = Client(os.environ.get("RUNTIME_URL", "ws://localhost:8080"))


@csrf_exempt  # of this example; keep the protection where there are sessions
@require_POST
def answer(request: HttpRequest) -> JsonResponse:
    """Wait for the agent, and answer."""
    options = QueryOptions(system_prompt="Be brief.", timeout=60)
    try:
        data = client.query(request.POST["question"], options).data
    except InvocationTimeoutError:
        return JsonResponse({"error": "the agent took too long"}, status=504)
    except RuntimeUseError as error:
        return JsonResponse({"error": str(error)}, status=502)
    return JsonResponse({"answer": data.text if isinstance(data, TextResult) else data.structured_output})


@csrf_exempt
@require_POST
def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Pass the agent's messages on as they come, a line of JSON each; an empty line is a sign of life."""
    return StreamingHttpResponse(lines(request.POST["question"]), content_type="application/x-ndjson")


def lines(question: str) -> Iterator[str]:
    """The lines of a run. Closing this generator, as servers do when the browser has left, cancels the run."""
    try:
        with client.stream(InvocationMessage(system_prompt="Be brief.", user_prompt=question), timeout=600) as run:
            for message in run:
                if isinstance(message, HeartbeatMessageInterface):
                    yield "\n"
                elif isinstance(message, AssistantMessageInterface):
                    yield json.dumps({"message": message.text_blocks}) + "\n"
        yield json.dumps({"result": run.result.text}) + "\n"
    except RuntimeUseError as error:
        yield json.dumps({"error": str(error)}) + "\n"


urlpatterns = [path("answers", answer), path("streams", stream)]

if not settings.configured:
    settings.configure(DEBUG=True, ROOT_URLCONF=__name__, ALLOWED_HOSTS=["localhost", "127.0.0.1", "testserver"])
    django.setup()

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
