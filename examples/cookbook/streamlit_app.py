"""A Streamlit page that shows an agent at work, with a button that stops it: ``streamlit run streamlit_app.py``."""

from __future__ import annotations

import os

import streamlit as st

from runtimeuse_sync import AssistantMessageInterface, Client, RuntimeUseError

client = Client(os.environ.get("RUNTIME_URL", "ws://localhost:8080"))


def show(prompt: str) -> None:
    """Show what the agent says, as it says it.

    Streamlit ends a script by an exception, at its next word to the page: when Stop is pressed, another widget is used
    or the tab is closed. So there is a word after every second of silence too. The exception leaves the block, and the
    remote run is cancelled.
    """
    said, place = "", st.empty()
    with client.stream(prompt, system_prompt="Be brief.", timeout=600, tick=1.0) as run:
        for message in run:
            if isinstance(message, AssistantMessageInterface):
                said += "\n\n".join([*message.text_blocks, ""])
            place.markdown(said)


st.title("An agent")
if prompt := st.chat_input("What shall it do?"):
    st.chat_message("user").write(prompt)
    st.button("Stop")
    try:
        with st.chat_message("assistant"):
            show(prompt)
    except RuntimeUseError as error:
        st.error(f"{type(error).__name__}: {error}")
    else:
        st.success("done")
