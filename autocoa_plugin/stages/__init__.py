"""`autocoa stages`: a model through the training stages, each from the Hugging Face checkpoint of the one before.

    FOLDER/sft1/              made_with.json  launches/000/  checkpoints/  model (link)  stage.json
    FOLDER/sft1-sft2/         the same, started from FOLDER/sft1/model
    FOLDER/stages.json        every stage.json

| file | answers |
|---|---|
| `registry` | which stages there are: one line each |
| `plan`, `overrides`, `data_files` | which folders, files and overrides a run comes to |
| `recipe`, `prompts` | what a recipe's files say; at which prompt an RL stage goes on |
| `command` | the command line of a stage |
| `identity`, `fingerprint`, `made_with` | whether a folder was made with the same |
| `launches` | what happened in a folder so far |
| `run`, `hand_over`, `result` | skip, resume, train; the next start model; what came out |

The training is verl's: its programs, its recipes, its checkpoints. Nothing here imports verl or torch.
"""
