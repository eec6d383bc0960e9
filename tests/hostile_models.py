"""A model whose folder contains Python code, as some models on the Hugging Face hub do."""

import json


def model_with_code(folder):
    """Write a model to ``folder`` whose code creates the file ``code_was_run`` there."""
    (folder / "modeling.py").write_text(
        f"from pathlib import Path\nPath({str(folder / 'code_was_run')!r}).touch()\nclass C: pass\n"
    )
    names = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoTokenizer")
    code = {"auto_map": {name: "modeling.C" for name in names}, "tokenizer_class": "C"}
    code["auto_map"]["AutoTokenizer"] = ["modeling.C", None]
    (folder / "config.json").write_text(json.dumps({"model_type": "x", **code}))
    (folder / "tokenizer_config.json").write_text(json.dumps(code))
    return folder
