"""The parameters of an address as one model.

In: a request. Out: the model, or the refusal that FastAPI itself would give.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar, get_origin

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


class QueryModel(Generic[Model]):
    """A dependency that reads a model from the query, as `Annotated[Model, Query()]` does.

    FastAPI looks at the annotation of every field again in every request, which for the twenty options of a list takes longer than all else that the event loop does
    for it; here they are looked at once.

    Args:
        model: All its fields may be left out, or are refused by the model itself.
    """

    def __init__(self, model: type[Model]) -> None:
        self._model = model
        self._lists = {name for name, field in model.model_fields.items() if get_origin(field.annotation) is list}
        self.described = {"parameters": _parameters(model)}

    async def __call__(self, request: Request) -> Model:
        """Return the options of a request: of a name that is given twice the last value, unless it is a list.

        Raises:
            RequestValidationError: A value is not allowed, or there is no such name.
        """
        values: dict[str, Any] = {}
        for name, value in request.query_params.multi_items():
            if name in self._lists:
                values.setdefault(name, []).append(value)
            else:
                values[name] = value
        try:
            return self._model.model_validate(values)
        except ValidationError as error:
            found = error.errors(include_url=False)
            raise RequestValidationError([{**one, "loc": ("query", *one["loc"])} for one in found]) from None


def _parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    """Return how FastAPI describes the parameters, for the route that reads them here."""
    shown = FastAPI()

    def ask(options: Any) -> None:
        pass

    ask.__annotations__["options"] = Annotated[model, Query()]
    shown.get("/")(ask)
    described: list[dict[str, Any]] = shown.openapi()["paths"]["/"]["get"]["parameters"]
    return described
