"""A synthetic thorax with the paper's seven anatomies and known true correspondences."""
