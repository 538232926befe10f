"""Control limits: charts as matrices (periods, charts), without plan or language."""
