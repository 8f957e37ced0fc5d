"""From one image to shapes: inferencer, model directories, judgement, results, their files."""
