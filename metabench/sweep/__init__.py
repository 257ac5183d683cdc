"""Many runs: jobs in processes of their own, their outcomes, and searches."""
