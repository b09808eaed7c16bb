"""The agent: runs one turn, step after step, from its claim until it ends, parks or is requeued.

loop.py             the order of a step
model_calls.py      an answer of the model;  answer_recorder.py  its chunks as deltas and rows
compaction.py       a summary in place of the history
tool_calls.py       the output of a call;  approvals.py  whether it may run
budget.py           tokens that a user may spend
prompt.py           the log as the model's input;  input_images.py, proposed_plan.py, review.py  parts of it
refused_items.py    what is left out of it when the model's provider refuses it
transcript.py       the log of the turn, with token_usage.py and turn_writer.py
running_turn.py     what all of these share;  running_commands.py, first_steps.py  what runs beside the steps

Imports shared, workers.control, workers.journal, workers.models, workers.tools, workers.sandbox, workers.sources and
workers.workspace; workers/tasks/run_turn.py calls it.
"""
