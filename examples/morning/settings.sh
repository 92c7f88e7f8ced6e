# What a worker may do for this tree; read it with:  . ./settings.sh
export REGROW_SQL_CONNECTIONS__SHOP="sqlite:///$PWD/shop.sqlite3"
export REGROW_HTTP_ALLOW=127.0.0.1                # not public, so it has to be allowed
export REGROW_SECRET_PRICES_KEY=not-a-real-key    # ${{ secrets.PRICES_KEY }} in the tree
export REGROW_PYTHON_MODULES=statistics
export REGROW_FILE_ROOT="$PWD/counter"
export REGROW_OBJECT_STORES__ARCHIVE="file://$PWD/archive"
export REGROW_SMTP_URL=smtp://127.0.0.1:8791
export REGROW_SMTP_FROM="Shop <shop@shop.example>"
