"""The one use case: a request goes in, ranked plans or a judged deployment come out."""
