"""The learner beside a service: follows the event log, makes versions of the bundle, compares them, and promotes those that are not worse."""
