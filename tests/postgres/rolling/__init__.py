"""Two versions of Perdure at one database, as while a deploy goes on."""
