"""Backend ``vllm``: vLLM in this process, with batches, a prefix cache, and output that follows the schema."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from pipelines.core.errors import BackendError
from pipelines.core.questions import QuestionSet
from pipelines.core.resources import DescribeReportsResources
from pipelines.core.settings import DescribeReportsSettings
from pipelines.reports.backends.base import CUT_OFF, Reply, Request, Sampling, too_long_reply
from pipelines.reports.reply_schema import reply_schema


class VLLMBackend:
    """Passes whole batches of reports to vLLM's offline engine."""

    deterministic = False
    batch_size = 256
    facts: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self, questions: QuestionSet, settings: DescribeReportsSettings, resources: DescribeReportsResources
    ) -> None:
        if not settings.model:
            raise BackendError("backend vllm: no model named", hint="pass --model with a folder or a Hugging Face name")
        vllm = _vllm()
        self.model = settings.model
        self._engine = vllm.LLM(
            model=settings.model,
            max_model_len=resources.context,
            tensor_parallel_size=resources.gpus,
            gpu_memory_utilization=resources.gpu_memory,
            enable_prefix_caching=True,  # the questions are the same for every report
            enforce_eager=vllm.platforms.current_platform.is_cpu(),  # compiling for a CPU gains little
            seed=settings.seed,
            trust_remote_code=False,
            # xgrammar by default allows endless white space, which fills replies up to the token limit
            structured_outputs_config={"backend": "guidance", "disable_any_whitespace": True},
        )
        self.max_tokens = settings.max_tokens
        self.sampling = Sampling(settings.temperature, settings.seed)
        self.context = int(self._engine.llm_engine.model_config.max_model_len)
        self._schema = vllm.sampling_params.StructuredOutputsParams(json=reply_schema(questions))

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """Yield the replies of the batch; a report that is too long for the model gets a reply with an error."""
        room = self.context - self.max_tokens
        fitting = []
        for index, request in enumerate(requests):
            tokens = self.count_tokens(request)
            if tokens <= room:
                fitting.append(index)
            else:
                yield index, too_long_reply(tokens, room)
        if not fitting:
            return
        started = time.perf_counter()
        conversations = [requests[index].messages for index in fitting]
        sampling = [self._parameters(requests[index]) for index in fitting]
        outputs = self._engine.chat(conversations, sampling, use_tqdm=False)
        seconds = (time.perf_counter() - started) / len(fitting)
        for index, output in zip(fitting, outputs, strict=True):
            yield index, _reply(output, seconds)

    def count_tokens(self, request: Request) -> int:
        """Return the number of tokens of the conversation."""
        tokenizer = self._engine.get_tokenizer()
        return len(tokenizer.apply_chat_template(request.messages, add_generation_prompt=True, return_dict=False))

    def _parameters(self, request: Request) -> Any:
        sampling = request.sampling or self.sampling
        return _vllm().SamplingParams(
            temperature=sampling.temperature,
            seed=sampling.seed,
            max_tokens=self.max_tokens,
            structured_outputs=self._schema,
        )


def _reply(output: Any, seconds: float) -> Reply:
    completion = output.outputs[0]
    reply = Reply(prompt_tokens=len(output.prompt_token_ids), output_tokens=len(completion.token_ids), seconds=seconds)
    if completion.finish_reason == "length":
        return replace(reply, error=CUT_OFF)
    return replace(reply, text=completion.text)


def _vllm() -> Any:
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")  # stdout is for results
    try:
        import vllm
        import vllm.platforms
        import vllm.sampling_params
    except ImportError as error:
        raise BackendError(
            f"backend vllm: the package vllm cannot be imported ({type(error).__name__})",
            hint="pip install 'five-wsi[vllm]' on Linux with a GPU, or use --backend openai with a server",
        ) from error
    return vllm
