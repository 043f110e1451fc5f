"""From metric records to the tables and figures of the paper, measured numbers beside the published ones."""
