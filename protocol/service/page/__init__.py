"""The page for people at GET /: page.html, page.css, words.js and page.js, which can be worked on as they are."""
