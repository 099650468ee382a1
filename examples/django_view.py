"""The views of a Django project, for WSGI and for ASGI, and the least of a project around them."""

from __future__ import annotations

import os
import sys

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from runtimeuse_sync import (
    Client,
    InvocationMessage,
    InvocationTimeoutError,
    QueryOptions,
    RuntimeUseError,
    TextResult,
)
from runtimeuse_sync.web import NDJSON_HEADERS, AsyncStream, ndjson

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
    """Pass the agent's messages on as they come, a line of JSON each. When the browser leaves, the run is cancelled."""
    question = InvocationMessage(system_prompt="Be brief.", user_prompt=request.POST["question"])
    lines = ndjson(client.stream(question, timeout=600, tick=0.5))
    content = AsyncStream(lines) if isinstance(request, ASGIRequest) else lines
    return StreamingHttpResponse(content, headers=NDJSON_HEADERS)


urlpatterns = [path("answers", answer), path("streams", stream)]

if not settings.configured:
    settings.configure(DEBUG=True, ROOT_URLCONF=__name__, ALLOWED_HOSTS=["localhost", "127.0.0.1", "testserver"])
    django.setup()

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
