"""How sales are saved since this morning: so many rows at once as the tree says."""

from pydantic import BaseModel
from shops import Row, send_to_warehouse

from regrow import executor_register


class Sales(BaseModel):
    """What all shops sold, and how much of it to send at once."""

    sales: list[list[Row]]
    batch: int


@executor_register()
def save_sales(inputs: Sales) -> int:
    """Save rows to the warehouse, batch by batch, and give how many."""
    rows = [row for shop in inputs.sales for row in shop]
    for start in range(0, len(rows), inputs.batch):
        send_to_warehouse(rows[start : start + inputs.batch])
    return len(rows)
