"""A seeded simulation of people, jobs and nodes, in which the hooks' own decisions act."""
