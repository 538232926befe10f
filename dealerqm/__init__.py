"""dealerqm: honest quarterly quality reviews for groups of car sales-and-service stores."""

__version__ = "0.1.0"
