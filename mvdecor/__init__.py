"""MvDeCor: multi-view dense contrastive pretraining and few-shot part segmentation of meshes."""
