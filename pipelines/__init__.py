"""FiVE as a library: what the commands of ``five`` do, as Python functions.

A file in this package is a stage, a folder is a building block. The public API is what the stages
export; everything else may change without notice.

    pipelines.tile                     tile, plan, TileInputs, TileSettings, TileResources
    pipelines.embed                    embed, plan, EmbedInputs, EmbedSettings, EmbedResources, PictureSettings
    pipelines.describe_reports         describe_reports, plan, DescribeReportsInputs, DescribeReportsSettings,
                                       DescribeReportsResources
    pipelines.train                    train, plan, TrainInputs, TrainSettings, Resources
    pipelines.predict                  predict, plan, PredictInputs, PredictSettings, Resources
    pipelines.evaluate                 evaluate, EvaluateInputs, EvaluateSettings
    pipelines.evaluate_descriptions    evaluate_descriptions, EvaluateDescriptionsInputs,
                                       EvaluateDescriptionsSettings
    pipelines.demo                     make_cohort, DemoSettings, DemoResources
    pipelines.inspect                  inspect, Contents
    pipelines.core.selection           Selection, Shard
    pipelines.core.batch               Summary, Result, Outcome
    pipelines.core.errors              FiveError, which every error that a user can repair derives from

The stages that write a folder have one signature::

    stage(inputs, out, settings, *, selection, resources, on_result) -> Summary

``inputs`` names the files to read. ``settings`` decides what is written and is recorded in it.
``selection`` says which items to work on, ``resources`` how fast. ``plan(inputs, out, settings, *, selection)``
returns what the stage would do. `make_cohort` reads nothing and has no ``inputs``. The two evaluations write
nothing: ``evaluate(inputs, settings)``.
docs/python.md shows the stages in one example that runs.
"""

__version__ = "0.1.0"
