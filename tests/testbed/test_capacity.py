import pytest

from testbed.capacity import CapacityError, measure_capacity
from testbed.processes import choose_ports


def test_serving_that_does_not_answer_is_an_error_that_names_it():
    port = choose_ports(["serving"], {})["serving"]
    with pytest.raises(CapacityError, match=f"127.0.0.1:{port} cannot be measured"):
        measure_capacity(f"http://127.0.0.1:{port}", seconds=0.1)
