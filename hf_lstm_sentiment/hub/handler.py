"""The model as Inference Endpoints run it: a plain file of a repository, which imports nothing but transformers.

https://huggingface.co/docs/inference-endpoints/guides/custom_handler
"""

import re
from collections.abc import Mapping
from typing import Any

from transformers import pipeline

_PARAMETERS: Mapping[str, tuple[Any, str]] = {
    "top_k": (lambda x: x is None or (type(x) is int and x >= 1), "a whole number of at least 1, or null for all"),
    "truncation": (lambda x: type(x) is bool, "true or false"),
    "function_to_apply": (lambda x: x in ("softmax", "sigmoid", "none"), "softmax, sigmoid, none"),
}


class EndpointHandler:
    """What the service makes once, and calls with every request.

    Args:
        path: The folder that holds the repository.
    """

    def __init__(self, path: str = "") -> None:
        # Whoever runs this file runs the three beside it as well.
        self._classify: Any = pipeline("text-classification", model=path, trust_remote_code=True)

    def __call__(self, data: Mapping[str, Any]) -> list[Any]:
        """Classify what a request holds.

        Args:
            data: "inputs", a text or a list of texts; and "parameters", of which "top_k" gives so many labels of each
                text, null all of them; "truncation", true unless given, cuts texts to what the model reads; and
                "function_to_apply" is that of the pipeline.

        Returns:
            Per text a mapping with "label" and "score"; with "top_k", a list of such mappings, for one text as for
            several.

        Raises:
            ValueError: The request is none of this; the service sends the message to the client, with status 400.
        """
        if not isinstance(data, Mapping) or not isinstance(parameters := data.get("parameters") or {}, Mapping):
            raise ValueError(f'the request is {data!r:.80}; allowed: an object with "inputs", and "parameters" as one')
        inputs = data.get("inputs")
        texts = [inputs] if isinstance(inputs, str) else inputs
        if not isinstance(texts, list):
            raise ValueError(f'"inputs" is {inputs!r:.80}; allowed: a text or a list: {{"inputs": "A moving film."}}')
        for place, text in enumerate(texts):
            if not isinstance(text, str) or re.search("[\ud800-\udfff]", text):
                raise ValueError(f'"inputs" holds {text!a:.80} at place {place}; allowed: texts of whole characters')
        for name, value in parameters.items():
            is_valid, allowed = _PARAMETERS.get(name, (lambda _: False, f"no parameter but {', '.join(_PARAMETERS)}"))
            if not is_valid(value):
                raise ValueError(f"{name} is {value!r}; allowed: {allowed}")
        options = {"truncation": True, "batch_size": 32, **parameters}
        return list(self._classify(texts, **options)) if texts else []
