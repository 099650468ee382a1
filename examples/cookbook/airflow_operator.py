"""An Airflow operator whose run ends with the task: Airflow 3, in the ``dags`` folder or beside your DAGs."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.bases.hook import BaseHook

from runtimeuse_sync import Client


class AgentOperator(BaseOperator):
    """Runs the agent. What it answers is the task's XCom.

    The connection ``conn_id`` has the sandbox's URL as its host (``wss://…``) and a bearer token as its password.
    """

    template_fields = ("prompt", "system_prompt")

    def __init__(
        self, *, prompt: str, system_prompt: str = "", conn_id: str = "runtimeuse", seconds: float = 3600, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.prompt = prompt
        self.system_prompt = system_prompt
        self.conn_id = conn_id
        self.seconds = seconds
        self._client: Client | None = None

    def execute(self, context: Any) -> Any:
        """Ask, and say in the task's log what the agent says."""
        self._client = self.connect()
        answer = self._client.query(
            self.prompt,
            system_prompt=self.system_prompt,
            timeout=self.seconds,
            on_assistant_message=lambda message: self.log.info("%s", "\n".join(message.text_blocks)),
        )
        return answer.output

    def on_kill(self) -> None:
        """Cancel the remote run. Airflow calls it from a signal handler, within the call."""
        if self._client is not None:
            self._client.abort()

    def connect(self) -> Client:
        """Look up the connection when the task runs, not when the DAG is read."""
        found = BaseHook.get_connection(self.conn_id)
        headers = {"Authorization": f"Bearer {found.password}"} if found.password else None
        return Client(str(found.host), headers=headers)
