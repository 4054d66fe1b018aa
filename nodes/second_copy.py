"""What a second copy of this pack gives ComfyUI: no nodes, so that those of the first copy stay."""

from comfy_api.v0_0_2 import ComfyExtension, io


class SecondCopy(ComfyExtension):
    """Nothing."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return []


async def comfy_entrypoint() -> ComfyExtension:
    return SecondCopy()
