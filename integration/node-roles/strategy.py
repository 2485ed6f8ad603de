"""The node takes a role's task on, and lets its components go when it is done: `fragment strategy`."""

import json

import node


class Strategy:
    """A class of the configuration that has one role's components, and one task of it."""

    def __init__(self, one, role):
        self.one, self.role, self.task = one, role, f"{one.tag}-{role}"
        self.is_assigned = False
        self.config = one.directory / "strategies.yaml"
        self.config.write_text(f"state: {one.directory / 'strategies'}\nstrategies:\n  {role}:\n    components: [{role}]\n")

    def call(self, *words, check=True):
        return node.call("env", f"FRAGMENT_CONFIG={self.config}", node.FRAGMENT, *words, check=check)

    def status(self):
        all_of_it = json.loads(self.call("library", "status", "--json").stdout)
        return next(one for one in all_of_it if one["name"] == self.role)

    def assign(self):
        self.call("library", "unload", self.role)
        self.one.expect("before its task comes the role is not loaded", not self.status()["loaded"])
        told = json.loads(self.call("strategy", "assign", "--json", self.role, self.task).stdout)
        self.is_assigned = True
        self.one.expect("its components are loaded with the task", told["task"]["class"] == self.role and self.role in told["task"]["components"], told)
        status = self.status()
        self.one.expect("and kept for it", status["loaded"] and status["users"] == 1, status)
        refused = self.call("library", "unload", self.role, check=False)
        self.one.expect("nobody can take them away", refused.returncode == 1 and "in use" in refused.stderr, refused)

    def release(self):
        """When nothing else of the demonstration is there."""
        if not self.is_assigned:
            return
        self.is_assigned = False
        self.call("strategy", "release", self.task)
        self.one.equal("released, nobody uses them", self.status()["users"], 0)
        freed = json.loads(self.call("library", "unload", "--json", self.role).stdout)
        self.one.expect("and they can go", "freed" in freed[self.role] and not self.status()["loaded"], freed)
