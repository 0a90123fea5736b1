"""What the page's server answers: routes by subject, and the files that a browser loads."""
