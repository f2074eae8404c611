"""The task API: a claim's category, a mail's verdict, asked of the models behind a namespace's router."""
