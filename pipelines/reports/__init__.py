"""Answer clinical questions about pathology reports, each answer with a quote from the report."""
