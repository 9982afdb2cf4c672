"""The exercises of each notebook: right answers, cases, and the mistakes people make, each with its hint."""
