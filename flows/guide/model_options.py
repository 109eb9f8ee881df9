"""Options of the guide that name the model."""

from flows.guide.option import Option
from flows.guide.take import only, text, to

OPTIONS = (
    Option(
        key="model_family",
        take=only("ltxvideo2", refusal="this program trains LTX-2 only; `ltxvideo2` is wanted"),
        does="`ltxvideo2` is taken, any other refused.",
        differs="One model family, made for it.",
        test="tests/unit/guide/test_options.py::test_refused",
    ),
    Option(
        key="model_type",
        take=only("lora", refusal="only LoRAs are trained here; `lora` is wanted"),
        does="`lora` is taken, `full` refused.",
        differs="No training of the whole model.",
        test="tests/unit/guide/test_options.py::test_refused",
    ),
    Option(
        key="model_flavour",
        take=to("model.flavour"),
        does="`model.flavour`: which model of a repository; of local files, what they must turn out to be.",
        differs="`dev-fp8` and `dev-fp4` are read with their scales, not as file names alone; 2.3 and 2.5 load too.",
        test="tests/stages/test_sources.py::test_an_fp8_file_with_the_text_encoder_beside_it",
    ),
    Option(
        key="pretrained_model_name_or_path",
        take=to("model.checkpoint"),
        does="`model.checkpoint`: a repository, a combined `.safetensors` file, a folder. Left out: the flavour's own "
        "repository.",
        differs="A download is of one commit, planned with its size before it starts, and asked for once.",
        test="tests/stages/test_sources.py::test_a_repository_is_planned_then_downloaded_then_asked_no_more",
    ),
    Option(
        key="pretrained_gemma_model_name_or_path",
        take=to("model.text_encoder"),
        does="`model.text_encoder`: a folder or repository of Gemma 3. Left out: the one that comes with the model.",
        differs="Whether it fits the checkpoint is seen from its configuration before anything is loaded.",
        test="tests/stages/test_sources.py::test_a_repositorys_flavour_with_the_text_encoder_in_it",
    ),
    Option(
        key="revision",
        take=to("model.revision", parse=text),
        does="`model.revision`: branch, tag or commit of the repository.",
        differs="nothing",
        test="tests/stages/test_sources.py::test_a_pack_of_the_hub_in_one_commit",
    ),
)
