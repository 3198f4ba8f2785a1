"""Answers for `try_recipe`, chosen by what stands in the prompt."""

from collections.abc import Callable

from tilth.teacher.request import Answer, Request, Usage


def answers_by_prompt(answers: dict[str, str | list[str] | Answer]) -> Callable[[Request, int], str | Answer]:
    """Returns a function that gives the answer of the first text that stands in the messages (or the raw prompt).

    Of a list the next one each time, or the one of that sample where several samples are drawn at once.
    """
    given: dict[str, int] = {}

    def answer(request: Request, sample: int) -> str | Answer:
        asked = request.prompt or "\n".join(message.content for message in request.messages)
        found = next((text for text in answers if text in asked), None)
        assert found is not None, f"no answer to: {asked[-500:]}"
        chosen = answers[found]
        if not isinstance(chosen, list):
            return chosen
        at = given.get(found, 0)
        given[found] = at + 1
        return chosen[at]

    return answer


def cut_off(text: str) -> Answer:
    """Returns an answer that ended at the most tokens."""
    return Answer(text=text, finish_reason="length", usage=Usage(prompt_tokens=1, completion_tokens=1))
