"""An agent that speaks ACP on stdin and stdout and does what its script says: `python acp_agent.py SCRIPT`, a JSON file.

`turns` are lists of steps, one list for a prompt; a step is one of say, call, update, ask, run, print, await, error, exit, hang, stop. What
it is told is appended to SCRIPT.heard. Sessions are in SCRIPT.sessions: the number of turns that each has had.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = Path(sys.argv[1])
HEARD, SESSIONS = SCRIPT.with_suffix(".heard"), SCRIPT.with_suffix(".sessions")
PLAN = json.loads(SCRIPT.read_text(encoding="utf-8"))


class Ended(Exception):
    pass


class Agent:
    def __init__(self) -> None:
        self.session, self.asked, self.prompts, self.is_cancelled = "", 0, [], False

    def send(self, **document) -> None:
        self.do_print(json.dumps({"jsonrpc": "2.0", **document}))

    def update(self, **update) -> None:
        self.send(method="session/update", params={"sessionId": self.session, "update": update})

    def receive(self) -> dict:
        line = sys.stdin.readline()
        if not line:
            raise Ended
        with HEARD.open("a", encoding="utf-8") as file:
            file.write(line)
        said = json.loads(line)
        if said.get("method") == "session/prompt":
            self.prompts.append(said)
        self.is_cancelled |= said.get("method") == "session/cancel"
        return said

    def serve(self) -> None:
        while True:
            said = self.prompts[0] if self.prompts else self.receive()
            if said.get("method") == "session/prompt":
                self.prompts.remove(said)
                self.turn(said["id"])
            elif "id" in said:
                self.send(id=said["id"], **self.begin(said["method"], said["params"]))

    def begin(self, method: str, params: dict) -> dict:
        if method == "initialize":
            can = {"loadSession": PLAN.get("loads", True)}
            return {"result": {"protocolVersion": PLAN.get("version", 1), "agentCapabilities": can}}
        if PLAN.get("refuses"):
            return {"error": PLAN["refuses"]}
        self.session = params.get("sessionId") or f"session-{os.getpid()}"
        if method == "session/load":
            self.update(sessionUpdate="agent_message_chunk", content={"type": "text", "text": "said long ago"})
        return {"result": {} if method == "session/load" else {"sessionId": self.session}}

    def turn(self, request_id: str) -> None:
        done = json.loads(SESSIONS.read_text()) if SESSIONS.exists() else {}
        number = done.get(self.session, 0)
        SESSIONS.write_text(json.dumps(done | {self.session: number + 1}))
        answer, self.is_cancelled = {"result": {"stopReason": "end_turn"}}, False
        for step in PLAN["turns"][number]:
            ((what, given),) = step.items()
            answer = getattr(self, f"do_{what}")(given) or answer
            if self.is_cancelled:
                answer = {"result": {"stopReason": "cancelled"}}
                break
        self.send(id=request_id, **answer)

    def do_say(self, said: str) -> None:
        self.update(sessionUpdate="agent_message_chunk", content={"type": "text", "text": said})

    def do_call(self, call: dict) -> None:
        self.update(sessionUpdate="tool_call", **call)

    def do_update(self, update: dict) -> None:
        self.update(**update)

    def do_ask(self, call: dict) -> None:
        self.asked += 1
        kinds = ("allow_always", "allow_once", "reject_once")
        options = [{"optionId": kind, "kind": kind, "name": kind} for kind in kinds]
        params = {"sessionId": self.session, "toolCall": call, "options": options}
        self.send(id=self.asked, method="session/request_permission", params=params)
        while (said := self.receive()).get("id") != self.asked or "method" in said:
            pass
        if said["result"]["outcome"].get("optionId") == "allow_once":
            self.update(sessionUpdate="tool_call_update", toolCallId=call["toolCallId"], status="completed")

    def do_run(self, command: str) -> None:
        subprocess.run(["bash", "-c", command], check=False, stdout=sys.stderr)

    def do_print(self, line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def do_await(self, method: str) -> None:
        while self.receive().get("method") != method:
            pass

    def do_error(self, error: dict) -> dict:
        return {"error": error}

    def do_stop(self, reason: str) -> dict:
        return {"result": {"stopReason": reason}}

    def do_exit(self, code: int) -> None:
        os._exit(code)

    def do_hang(self, seconds: int) -> None:
        time.sleep(seconds)


try:
    Agent().serve()
except Ended:
    if PLAN.get("lingers"):
        time.sleep(600)
