"""Training stages (`autocoa stages`), each from the Hugging Face checkpoint of the one before.

    FOLDER/sft1/              made_with.json  launches/000/  checkpoints/  model (link)  stage.json
    FOLDER/sft1-sft2/         the same, started from FOLDER/sft1/model
    FOLDER/stages.json        every stage.json

| file | answers |
|---|---|
| `registry` | which stages there are (`STAGES`), one line each; what a recipe's files say; overrides by stage |
| `plan` | which folders, files and overrides a run comes to (`StageRun`), at which prompt an RL stage goes on |
| `made_with` | whether a folder was made with the same; the command line of a stage |
| `launches` | the launches in a folder so far: steps, checkpoints, seconds |
| `run`, `result` | skip, resume, train, hand the model over; `stage.json` and the table |

The training is verl's: its programs, its recipes, its checkpoints. Nothing here imports verl or torch.
"""
