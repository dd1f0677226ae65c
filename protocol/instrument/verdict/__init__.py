"""The verdict: what the calls of a session tell of the program that made them.

Pure: entries of a journal in, findings out. A finding is a habit that costs its owner money, or breaks something, once
the model misbehaves for real. It is "bad" with the calls that show it, "good" where the occasion came and the program
did right, and "unknown" where it did not come: what nobody has tried, nobody has passed.

    bodies      what the bodies of calls say: texts, calls of tools, what came back of them
    chains      calls that are attempts at the same thing
    findings    the habits, one function each
    report      the verdict as text, JSON and JUnit's XML
"""
