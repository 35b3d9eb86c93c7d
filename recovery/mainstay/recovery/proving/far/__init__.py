"""Drills on another machine than the controller: an operation whose host restores and proves another one's points, or its own.

What is restored is drawn on the controller and kept in the change. One detached job on the drill's host does the rest: it holds a
scratch place for each point by the tool (`proving.tool`), restores into it, compares by a second restic that writes nothing, and
has the tool prove dumps. The controller reads what came of it, has what was left over removed, and writes the proofs.
"""
